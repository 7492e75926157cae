package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type positionKind uint8

const (
	atStart positionKind = iota
	atEnd
	atOffset
	atTime
)

const positionSyntax = "start, end, offset:N, or a time: RFC 3339, milliseconds since 1970, or back from now as in -10m"

// position is a place in partitions that a user named.
type position struct {
	kind  positionKind
	value int64 // atOffset: the offset; atTime: milliseconds since 1970
}

// parsePosition reads what positionSyntax describes.
func parsePosition(text string, now time.Time) (position, error) {
	switch text {
	case "start", "earliest", "beginning":
		return position{kind: atStart}, nil
	case "end", "latest":
		return position{kind: atEnd}, nil
	}
	if rest, ok := strings.CutPrefix(text, "offset:"); ok {
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil || n < 0 {
			return position{}, fmt.Errorf("%q: an offset is a number from 0", text)
		}
		return position{atOffset, n}, nil
	}
	text = strings.TrimPrefix(text, "timestamp:")
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 {
		return position{atTime, ms}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return position{atTime, t.UnixMilli()}, nil
	}
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		if back, err := parseAge(rest); err == nil {
			return position{atTime, now.Add(-back).UnixMilli()}, nil
		}
	}
	return position{}, fmt.Errorf("%q: want %s", text, positionSyntax)
}

// parseAge reads a duration, which may be in days: 36h, 7d.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%q is negative", text)
	}
	return d, err
}

// consumeOffset is the position as the client library takes it.
func (p position) consumeOffset() kgo.Offset {
	switch p.kind {
	case atStart:
		return kgo.NewOffset().AtStart()
	case atEnd:
		return kgo.NewOffset().AtEnd()
	case atOffset:
		return kgo.NewOffset().At(p.value)
	}
	return kgo.NewOffset().AfterMilli(p.value)
}

// resolve asks the brokers which offset the position is in each partition of the topics. Offsets outside the log are
// moved to its nearer end.
func (p position) resolve(s *session, topics []string) (map[string]map[int32]int64, error) {
	start, err := listed(s.admin.ListStartOffsets(s.ctx, topics...))
	if err != nil || p.kind == atStart {
		return start, err
	}
	end, err := listed(s.admin.ListEndOffsets(s.ctx, topics...))
	if err != nil || p.kind == atEnd {
		return end, err
	}
	if p.kind == atTime {
		return listed(s.admin.ListOffsetsAfterMilli(s.ctx, p.value, topics...))
	}
	for topic, partitions := range end {
		for partition, last := range partitions {
			partitions[partition] = min(max(p.value, start[topic][partition]), last)
		}
	}
	return end, nil
}

// listed is an answer about offsets without its errors, or the first of them.
func listed(answer kadm.ListedOffsets, err error) (map[string]map[int32]int64, error) {
	if err != nil {
		return nil, failed("look up offsets", err)
	}
	out := map[string]map[int32]int64{}
	answer.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			err = failed(fmt.Sprintf("look up offsets of %s-%d", o.Topic, o.Partition), o.Err)
			return
		}
		if out[o.Topic] == nil {
			out[o.Topic] = map[int32]int64{}
		}
		out[o.Topic][o.Partition] = o.Offset
	})
	return out, err
}

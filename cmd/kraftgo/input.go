package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// anyPartition is the partition of a record whose key, or the client, chooses.
const anyPartition = -1

// recordReader makes records of lines. A line ends with a line feed, which is not part of it; the last need not.
type recordReader struct {
	lines *bufio.Reader
	limit int   // of a line, in bytes
	line  int64 // the number of the line read last, from 1

	json      bool
	separator []byte // between key and value of a raw line; empty: the line is the value
	null      []byte // a raw value like this is null; nil: none
	key       []byte // of records that have none of their own
	headers   []kgo.RecordHeader
	partition int32 // of records that name none
}

func newRecordReader(in io.Reader, limit int) *recordReader {
	return &recordReader{lines: bufio.NewReaderSize(in, limit+1), limit: limit, partition: anyPartition}
}

// skip passes over n records.
func (r *recordReader) skip(n int64) error {
	for i := range n {
		if _, err := r.nextLine(); errors.Is(err, io.EOF) {
			return fmt.Errorf("the input ends after %d records, but %d were acknowledged: is it the input that the progress file is about?", i, n)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// next returns the next record, or io.EOF. The record shares nothing with the reader's buffer.
func (r *recordReader) next() (*kgo.Record, error) {
	line, err := r.nextLine()
	if err != nil {
		return nil, err
	}
	out := &kgo.Record{Key: r.key, Headers: r.headers[:len(r.headers):len(r.headers)], Partition: r.partition}
	if r.json {
		if err := r.fill(out, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", r.line, err)
		}
		return out, nil
	}
	text := append([]byte{}, line...) // the one copy: key and value are parts of it
	if len(r.separator) > 0 {
		key, value, ok := bytes.Cut(text, r.separator)
		if !ok {
			return nil, fmt.Errorf("line %d: no key separator %q in it", r.line, r.separator)
		}
		out.Key, text = key[:len(key):len(key)], value
	}
	if r.null == nil || !bytes.Equal(text, r.null) {
		out.Value = text
	}
	return out, nil
}

// nextLine returns the next line that is a record. JSON has blank lines that are none.
func (r *recordReader) nextLine() ([]byte, error) {
	for {
		line, err := r.lines.ReadSlice('\n')
		if err == nil {
			line = line[:len(line)-1]
		} else if errors.Is(err, io.EOF) && len(line) > 0 {
			err = nil
		}
		if err == nil || errors.Is(err, bufio.ErrBufferFull) {
			r.line++
		}
		if errors.Is(err, bufio.ErrBufferFull) || len(line) > r.limit {
			return nil, fmt.Errorf("line %d is longer than %d bytes (--max-line-bytes)", r.line, r.limit)
		}
		if err != nil {
			return nil, err
		}
		if !r.json || len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

// jsonRecord is a line of JSON input. 'kraftgo consume --format json' writes it too.
type jsonRecord struct {
	Topic       string          `json:"topic,omitempty"`  // read and left: a record goes to the topic that the command names
	Partition   *int32          `json:"partition"`        //
	Offset      *int64          `json:"offset,omitempty"` // read and left
	Timestamp   json.RawMessage `json:"timestamp,omitempty"`
	Key         json.RawMessage `json:"key,omitempty"`
	KeyBase64   *string         `json:"keyBase64,omitempty"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *string         `json:"valueBase64,omitempty"`
	Headers     []jsonHeader    `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key         string          `json:"key"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *string         `json:"valueBase64,omitempty"`
}

// fill sets what the line says. What it leaves out stays.
func (r *recordReader) fill(out *kgo.Record, line []byte) error {
	var in jsonRecord
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("not a record in JSON: %w", err)
	}
	if d.More() {
		return errors.New("not a record in JSON: more follows the closing brace")
	}
	var err error
	if len(in.Key) > 0 || in.KeyBase64 != nil {
		if out.Key, err = jsonBytes("key", in.Key, in.KeyBase64); err != nil {
			return err
		}
	}
	if out.Value, err = jsonBytes("value", in.Value, in.ValueBase64); err != nil {
		return err
	}
	for _, h := range in.Headers {
		value, err := jsonBytes("header "+h.Key, h.Value, h.ValueBase64)
		if err != nil {
			return err
		}
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: value})
	}
	if in.Partition != nil {
		if *in.Partition < 0 {
			return fmt.Errorf("partition %d: want a number from 0", *in.Partition)
		}
		out.Partition = *in.Partition
	}
	if len(in.Timestamp) > 0 {
		if out.Timestamp, err = jsonTime(in.Timestamp); err != nil {
			return err
		}
	}
	return nil
}

// jsonBytes is what a field means: a string its text, null or nothing null, any other value its own JSON. The second
// form is base64, for bytes that are no text.
func jsonBytes(name string, text json.RawMessage, coded *string) ([]byte, error) {
	if coded != nil {
		if len(text) > 0 {
			return nil, fmt.Errorf("%s is there twice, as text and as base64", name)
		}
		out, err := base64.StdEncoding.DecodeString(*coded)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return out, nil
	}
	switch {
	case len(text) == 0 || string(text) == "null":
		return nil, nil
	case text[0] == '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return []byte(s), nil
	}
	return text, nil
}

// jsonTime reads milliseconds since 1970, or RFC 3339.
func jsonTime(text json.RawMessage) (time.Time, error) {
	var ms int64
	if json.Unmarshal(text, &ms) == nil {
		return time.UnixMilli(ms), nil
	}
	var s string
	if json.Unmarshal(text, &s) == nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("timestamp %s: want milliseconds since 1970, or RFC 3339", text)
}

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordFormat appends a record to dst as it is printed.
type recordFormat func(dst []byte, r *kgo.Record) []byte

const formatSyntax = "raw, json, or a text with %k (key) %v (value) %t (topic) %p (partition) %o (offset) %T (timestamp, ms) %h (headers) %% and \\n \\t \\r \\0 \\\\"

// parseRecordFormat reads what formatSyntax describes.
func parseRecordFormat(text string) (recordFormat, error) {
	switch text {
	case "raw":
		return func(dst []byte, r *kgo.Record) []byte { return append(append(dst, r.Value...), '\n') }, nil
	case "json":
		return appendJSON, nil
	}
	if !strings.ContainsAny(text, `%\`) {
		return nil, fmt.Errorf("--format %s: want %s", text, formatSyntax)
	}
	var parts []recordFormat
	literal := ""
	for i := 0; i < len(text); i++ {
		if text[i] != '%' && text[i] != '\\' {
			literal += text[i : i+1]
			continue
		}
		if i+1 == len(text) {
			return nil, fmt.Errorf("--format %s ends in the middle of %q", text, text[i:])
		}
		pair := text[i : i+2]
		i++
		if plain, ok := formatEscapes[pair]; ok {
			literal += plain
			continue
		}
		field, ok := formatFields[pair]
		if !ok {
			return nil, fmt.Errorf("--format %s: %s is unknown: want %s", text, pair, formatSyntax)
		}
		parts = append(parts, literalFormat(literal), field)
		literal = ""
	}
	parts = append(parts, literalFormat(literal))
	return func(dst []byte, r *kgo.Record) []byte {
		for _, part := range parts {
			dst = part(dst, r)
		}
		return dst
	}, nil
}

func literalFormat(text string) recordFormat {
	return func(dst []byte, _ *kgo.Record) []byte { return append(dst, text...) }
}

var formatEscapes = map[string]string{"%%": "%", `\n`: "\n", `\t`: "\t", `\r`: "\r", `\0`: "\x00", `\\`: `\`}

var formatFields = map[string]recordFormat{
	"%k": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Key...) },
	"%v": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Value...) },
	"%t": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Topic...) },
	"%p": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(r.Partition), 10) },
	"%o": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Offset, 10) },
	"%T": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10) },
	"%h": func(dst []byte, r *kgo.Record) []byte {
		for i, h := range r.Headers {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, h.Key...), '='), h.Value...)
		}
		return dst
	},
}

// appendJSON writes one line, which 'kraftgo produce --input json' reads back to the same record.
func appendJSON(dst []byte, r *kgo.Record) []byte {
	line := jsonRecord{Topic: r.Topic, Partition: &r.Partition, Offset: &r.Offset, Timestamp: strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10)}
	line.Key, line.KeyBase64 = bytesJSON(r.Key)
	line.Value, line.ValueBase64 = bytesJSON(r.Value)
	for _, h := range r.Headers {
		header := jsonHeader{Key: h.Key}
		header.Value, header.ValueBase64 = bytesJSON(h.Value)
		line.Headers = append(line.Headers, header)
	}
	text := &strings.Builder{}
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false)
	if err := e.Encode(line); err != nil {
		panic(fmt.Sprintf("a record does not encode: %v", err))
	}
	return append(dst, text.String()...)
}

// bytesJSON is text as a JSON string and null as null; bytes that are no text are the second result, in base64.
func bytesJSON(b []byte) (json.RawMessage, *string) {
	if b == nil {
		return json.RawMessage("null"), nil
	}
	if !utf8.Valid(b) {
		coded := base64.StdEncoding.EncodeToString(b)
		return nil, &coded
	}
	text := &strings.Builder{}
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(b)); err != nil {
		panic(fmt.Sprintf("text does not encode: %v", err))
	}
	return json.RawMessage(strings.TrimSuffix(text.String(), "\n")), nil
}

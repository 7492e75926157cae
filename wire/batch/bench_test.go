package batch

import (
	"fmt"
	"testing"
)

// filled returns a batch of 64 KiB of records of size bytes each.
func filled(b *testing.B, codec Codec, size int) Header {
	var records []plainRecord
	for i := range 64 << 10 / size {
		value := make([]byte, size-20)
		for j := range value {
			value[j] = byte(i * j)
		}
		records = append(records, plainRecord{Timestamp: kafkaTime, Key: fmt.Appendf(nil, "key-%06d", i), Value: value})
	}
	return build(b, Template{Codec: codec}, records)
}

func BenchmarkValidate(b *testing.B) {
	for _, codec := range []Codec{CodecNone, CodecLZ4} {
		for _, size := range []int{100, 1024} {
			for _, deep := range []bool{false, true} {
				if deep && codec == CodecNone {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d/deep=%v", codec, size, deep), func(b *testing.B) {
					h := filled(b, codec, size)
					o := client()
					o.DeepCompressed = deep
					b.SetBytes(int64(len(h)))
					b.ReportAllocs()
					for b.Loop() {
						if _, refusal := Validate(h, &o); refusal != nil {
							b.Fatal(refusal)
						}
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Count()), "ns/record")
				})
			}
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := filled(b, CodecNone, size)
			for b.Loop() {
				if _, err := walk(h.Records(), h.Count(), h.BaseTimestamp()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Count()), "ns/record")
		})
	}
}

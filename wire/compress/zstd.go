package compress

import (
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdMaxWindow is the largest window accepted. Levels up to 19 of the reference encoder, which clients use, need
	// 8 MiB, 22 needs 128 MiB. The window costs nothing here: what is decoded whole is its own window, so that only
	// the limit on the output decides how much memory there is.
	zstdMaxWindow = 128 << 20
	// zstdWriteWindow is the largest window written.
	zstdWriteWindow = 8 << 20
	// zstdBlock is the most that a block can become; zstdMinBlock is the least that a block takes.
	zstdBlock    = 128 << 10
	zstdMinBlock = 4
	// zstdDecoders is how many may run at once, further ones wait.
	zstdDecoders = 8
	// zstdDefault is Kafka's default level.
	zstdDefault = 3
)

// zstdReader never decodes past the capacity of the slice that it is given: that is how limits are kept.
var zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(zstdDecoders), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true))
})

// zstdWriters holds an encoder for each of the library's speeds, made when first used.
var zstdWriters [zstd.SpeedBestCompression + 1]struct {
	once sync.Once
	*zstd.Encoder
	err error
}

func appendZstd(dst, src []byte, level int) ([]byte, error) {
	if level == DefaultLevel || level == 0 {
		level = zstdDefault
	}
	speed := zstd.EncoderLevelFromZstd(level)
	w := &zstdWriters[speed]
	w.once.Do(func() {
		// The batch has its own checksum. Zero frames: nothing must still become a frame that others can read.
		w.Encoder, w.err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderCRC(false),
			zstd.WithZeroFrames(true), zstd.WithWindowSize(zstdWriteWindow), zstd.WithLowerEncoderMem(true))
	})
	if w.err != nil {
		return dst, w.err
	}
	return w.EncodeAll(src, dst), nil
}

func readZstd(dst, src []byte, limit int) ([]byte, error) {
	r, err := zstdReader()
	if err != nil {
		return dst, err
	}
	if len(src) == 0 {
		return dst, corrupt("no frame")
	}
	// What the blocks could become is a bound; more than that is not worth its memory. A block of slack: with less room the
	// decoder cannot tell a buffer that is full from damage.
	most := min(int64(limit), (int64(len(src))/zstdMinBlock+1)*zstdBlock) + zstdBlock
	start, size := len(dst), int64(cap(dst)-len(dst))
	var head zstd.Header
	if head.Decode(src) == nil && head.HasFCS {
		switch {
		case head.FrameContentSize > uint64(limit):
			return dst, tooLarge(limit)
		case head.FrameContentSize > uint64(most):
			return dst, corrupt("frame of %d bytes claims to hold %d", len(src), head.FrameContentSize)
		}
		size = max(size, int64(head.FrameContentSize))
	} else {
		size = max(size, 8*int64(len(src)), zstdBlock)
	}
	for {
		size = min(size, most)
		dst = grow(dst, int(size), int(size))
		out, err := r.DecodeAll(src, dst[:start:start+int(size)])
		got := int64(len(out) - start)
		switch {
		case got > int64(limit):
			return dst, tooLarge(limit)
		case err == nil:
			return out, nil
		case size == most && errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return dst, tooLarge(limit)
		case size == most || size-got >= zstdBlock && !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return dst, corrupt("%v", err)
		}
		// No size was given, and the guess may have fallen short. Starting over with four times the room costs a third more
		// at worst.
		size = max(4*size, zstdBlock) // a frame may claim to hold nothing, and four times that is no more
	}
}

package api

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire/message"
)

// A change of the metadata that a client asked for is made once, though brokers ask again when a controller dies on it: the
// answer goes into the log with the change, under an id that the request keeps from controller to controller. The next
// controller that is asked gives the answer of the first.

// once plans and commits a change, and returns what is to be answered; nil: the request was answered by another controller. answer
// makes the answer from what plan has noted, or from the fault that befell the change. plan may be called more than once; what
// counts is the last time.
func (b *Broker) once(r *listen.Request, timeoutMs int32, plan func(*metadata.Image) []metadata.Record, answer func(fault *control.Refusal) message.Response) message.Response {
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(timeoutMs))
	defer cancel()
	id := r.RelayID()
	if id.IsZero() {
		var err error
		if id, err = lifecycle.NewRequestID(); err != nil {
			return answer(refusalOf(err))
		}
	}
	var decided message.Response
	kept, again, err := b.Controller.Once(ctx, id, func(image *metadata.Image) ([]metadata.Record, []byte) {
		records := plan(image)
		decided = answer(nil)
		if len(records) == 0 && !r.Relayed() {
			return nil, nil // a client does not send it again by the same id
		}
		return records, packReply(decided.AppendTo(nil, r.Header.Version))
	})
	switch {
	case again && err == nil:
		var body []byte
		if body, err = unpackReply(kept); err == nil {
			return &repeated{body: body}
		}
	case err == nil:
		return decided
	case errors.Is(err, quorum.ErrNotLeader), errors.Is(err, metadata.ErrStaleTerm), errors.Is(err, metadata.ErrIncomplete), errors.Is(err, quorum.ErrUnknown):
		// Another controller finishes it. A broker that sent us the request sends it there; a client's we send ourselves.
		if r.Relayed() {
			r.Undecided(err)
			return nil
		}
		if b.relay(r, id) {
			return nil
		}
	}
	return answer(refusalOf(err))
}

// repeated is an answer that was given before, as it was. It can be sent, and no more.
type repeated struct {
	message.Response // nil
	body             []byte
}

// Size implements [message.Message].
func (a *repeated) Size(int16) int { return len(a.body) }

// AppendTo implements [message.Message].
func (a *repeated) AppendTo(b []byte, _ int16) []byte { return append(b, a.body...) }

// unpackedMax bounds what a kept answer may be: more is damage.
const unpackedMax = 64 << 20

// packers are kept, since each has more than a megabyte of tables.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic("api: a level of compression that there is: " + err.Error())
	}
	return w
}}

// packReply makes an answer small: those about many topics repeat themselves.
func packReply(body []byte) []byte {
	var b bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&b)
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("api: writing to memory fails: " + err.Error())
	}
	return b.Bytes()
}

func unpackReply(packed []byte) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(packed))
	body, err := io.ReadAll(io.LimitReader(r, unpackedMax+1))
	if err == nil && len(body) > unpackedMax {
		err = errors.New("a kept answer is too long")
	}
	return body, errors.Join(err, r.Close())
}

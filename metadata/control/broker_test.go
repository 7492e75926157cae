package control

import (
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

func TestRegistrationTellsIdentitiesApart(t *testing.T) {
	s := metadata.NewState()
	index := wire.Index(0)
	commit := func(records ...metadata.Record) {
		t.Helper()
		index++
		if _, err := s.Apply(index, 1, metadata.Command{Term: 1, Records: records}); err != nil {
			t.Fatal(err)
		}
	}
	register := func(r metadata.RegisterBroker) wire.BrokerID {
		t.Helper()
		records, id, refusal := Register(s.Image(), r, Damage{})
		if refusal != nil {
			t.Fatal(refusal)
		}
		commit(records...)
		return id
	}
	a, b := wire.UUID{1}, wire.UUID{2}
	if id := register(metadata.RegisterBroker{Broker: -1, Directory: a, Generation: 1, Nonce: 10}); id != 1 {
		t.Fatalf("the first broker got id %d", id)
	}
	if id := register(metadata.RegisterBroker{Broker: 7, Directory: b, Generation: 1, Nonce: 20}); id != 7 {
		t.Fatalf("an id that was asked for became %d", id)
	}
	if id := register(metadata.RegisterBroker{Broker: -1, Directory: a, Generation: 2, Nonce: 11}); id != 1 {
		t.Fatalf("a restart that has forgotten its id got %d", id)
	}
	commit(Unfence(s.Image(), 1)...)
	for _, c := range []struct {
		r    metadata.RegisterBroker
		says string
	}{
		{metadata.RegisterBroker{Broker: 1, Directory: a, Generation: 1, Nonce: 10}, "older copy of the directory"},
		{metadata.RegisterBroker{Broker: 1, Directory: a, Generation: 2, Nonce: 99}, "two nodes run from copies of one directory"},
		{metadata.RegisterBroker{Broker: 3, Directory: a, Generation: 3}, "A directory keeps its broker id: start it with 1"},
		{metadata.RegisterBroker{Broker: 1, Directory: wire.UUID{3}, Generation: 1}, "registered from another directory and is alive"},
	} {
		if _, _, refusal := Register(s.Image(), c.r, Damage{}); refusal == nil || refusal.Code != wire.ErrDuplicateBrokerRegistration || !strings.Contains(refusal.Message, c.says) {
			t.Errorf("%+v: %v", c.r, refusal)
		}
	}
	other := metadata.RegisterBroker{Broker: 7, Directory: wire.UUID{3}, Generation: 1}
	if refusal := CheckReplace(s.Image(), &other, false); refusal == nil || !strings.Contains(refusal.Message, "which is down") {
		t.Fatalf("another directory of a broker that is down: %v", refusal)
	}
	for name, r := range map[string]metadata.RegisterBroker{
		"itself": {Broker: 7, Directory: b}, "a new id": {Broker: 9, Directory: wire.UUID{3}}, "no id": {Broker: -1, Directory: wire.UUID{3}},
	} {
		if refusal := CheckReplace(s.Image(), &r, false); refusal != nil {
			t.Errorf("%s: %v", name, refusal)
		}
	}
	if refusal := CheckReplace(s.Image(), &other, true); refusal != nil {
		t.Fatal(refusal)
	}
	if id := register(other); id != 7 {
		t.Fatalf("a new directory of a fenced broker got %d", id)
	}
	records, refusal := Unregister(s.Image(), 7)
	if refusal != nil {
		t.Fatal(refusal)
	}
	commit(records...)
	if _, refusal := Readmit(s.Image(), wire.UUID{3}, false); refusal == nil || !strings.Contains(refusal.Message, "Broker 7 was removed from the cluster") {
		t.Fatalf("a removed directory: %v", refusal)
	}
	if records, refusal := Readmit(s.Image(), a, true); len(records) > 0 || refusal != nil {
		t.Fatalf("a directory that was not removed: %v, %v", records, refusal)
	}
	records, refusal = Readmit(s.Image(), wire.UUID{3}, true)
	if refusal != nil {
		t.Fatal(refusal)
	}
	commit(records...)
	if _, refusal := Readmit(s.Image(), wire.UUID{3}, false); refusal != nil {
		t.Fatalf("a directory that was let in again: %v", refusal)
	}
	if _, refusal := Unregister(s.Image(), 7); refusal == nil || refusal.Code != wire.ErrBrokerIDNotRegistered {
		t.Fatalf("unregistered twice: %v", refusal)
	}
	if id := register(metadata.RegisterBroker{Broker: -1, Directory: wire.UUID{4}}); id != 8 {
		t.Fatalf("the id of a broker that left was given again: %d", id)
	}
}

package differential

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// unknownID is of no topic.
var unknownID = wire.TopicID{0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// unordered are the arrays whose order Kafka leaves open: those that come out of hash tables.
var unordered = map[string]bool{
	"Topics": true, "Partitions": true, "Configs": true, "Groups": true, "Results": true, "Resources": true, "ConfigResources": true,
	"Members": true, "ActiveProducers": true, "SupportedFeatures": true, "FinalizedFeatures": true,
	"Entries": true, "Entity": true, "Values": true, "CredentialInfos": true, "ACLs": true, "MatchingACLs": true,
}

// hidden are the fields that are not compared: they tell of the machine.
var hidden = map[string]bool{"ThrottleTimeMs": true, "Host": true, "Port": true, "Rack": true, "TotalBytes": true, "UsableBytes": true, "SnapshotID": true, "Documentation": true}

// placeheld are the fields of which only whether they are set is compared.
var placeheld = map[string]bool{"SessionID": true, "ClusterID": true, "FinalizedFeaturesEpoch": true, "LogDir": true, "ReplicaDirectoryID": true}

var (
	nonceText = regexp.MustCompile(`-n[0-9a-z]{3,7}x[lh]x*$`)
	uuidText  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	timeText  = regexp.MustCompile(`\b1[5-9]\d{11}\b|\b2\d{12}\b`)
	longText  = regexp.MustCompile(`x{50,}`)
	sumText   = regexp.MustCompile(`\d{7,}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	agentText = regexp.MustCompile(`@[0-9a-f]{6,8}\b`)
)

func (e *env) render(m message.Response) string {
	var b strings.Builder
	e.fields(&b, reflect.ValueOf(m).Elem(), "  ")
	return b.String()
}

// fields writes the fields of a structure that are not zero, one a line.
func (e *env) fields(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if !hidden[name] {
			e.field(b, name, v.Field(i), indent)
		}
	}
}

func (e *env) field(b *strings.Builder, name string, v reflect.Value, indent string) {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
	case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct:
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		e.fields(b, v.Elem(), indent+"  ")
	case v.Kind() == reflect.Struct:
		if !v.IsZero() {
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			e.fields(b, v, indent+"  ")
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		e.list(b, name, v, indent)
	case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.String:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, e.scalar(name, v.Elem()))
	case !v.IsZero() || v.Type() == reflect.TypeFor[wire.BrokerID]():
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, e.scalar(name, v))
	}
}

func (e *env) list(b *strings.Builder, name string, v reflect.Value, indent string) {
	var items []string
	for i := range v.Len() {
		var item strings.Builder
		e.fields(&item, v.Index(i), indent+"  ")
		if s := item.String(); e.ours(v.Index(i)) {
			items = append(items, s)
		}
	}
	if unordered[name] {
		slices.Sort(items)
	}
	for _, s := range items {
		fmt.Fprintf(b, "%s%s -\n%s", indent, name, s)
	}
}

// ours reports whether the item of a list is of this case: other cases have made topics and groups too, and so has the
// broker.
func (e *env) ours(v reflect.Value) bool {
	for _, field := range []string{"Name", "Topic", "GroupID", "ResourceName", "User"} {
		f := reflect.Indirect(v.FieldByName(field))
		if !f.IsValid() || f.Kind() != reflect.String {
			continue
		}
		s := f.String()
		if s == "__consumer_offsets" || s == "__transaction_state" {
			return strings.Contains(e.name, "internal")
		}
		if nonceText.MatchString(s) && !strings.HasSuffix(s, e.nonce) || strings.HasSuffix(s, e.nonce) && !strings.HasPrefix(s, e.name+".") && !strings.HasPrefix(s, "a b") {
			return false
		}
	}
	return true
}

func (e *env) scalar(name string, v reflect.Value) string {
	if placeheld[name] {
		return "<set>"
	}
	switch x := v.Interface().(type) {
	case wire.BrokerID:
		return e.brokerID(x)
	case []wire.BrokerID:
		var all []string
		for _, id := range x {
			all = append(all, e.brokerID(id))
		}
		return fmt.Sprint(all)
	case wire.TopicID:
		if x == unknownID {
			return "<unknown id>"
		}
		return "<id " + e.ids[x] + ">"
	case wire.ProducerID:
		return e.producer(x)
	case wire.ErrorCode:
		return fmt.Sprintf("%d %v", int16(x), x)
	case []byte:
		if name == "Records" {
			return records(x)
		}
		return fmt.Sprintf("%q", x)
	}
	if v.Kind() == reflect.String {
		s := longText.ReplaceAllString(e.text(v.String()), "<xs>")
		if strings.HasSuffix(name, "ErrorMessage") {
			s = sumText.ReplaceAllString(s, "<number>") // checksums and times
		}
		return fmt.Sprintf("%q", s)
	}
	if v.Kind() == reflect.Int64 && v.Int() > 1e12 && v.Int() < 4e12 {
		return "<time>"
	}
	return fmt.Sprint(v.Interface())
}

func (e *env) brokerID(id wire.BrokerID) string {
	if id == e.target.broker {
		return "<broker>"
	}
	return fmt.Sprint(int32(id))
}

// producer numbers the ids that brokers gave: cases use none below 1e6 of their own, and none above by chance.
func (e *env) producer(id wire.ProducerID) string {
	if id < 0 || id >= 1e9 {
		return fmt.Sprint(int64(id))
	}
	if _, ok := e.producers[id]; !ok {
		e.producers[id] = len(e.producers) + 1
	}
	return fmt.Sprintf("<producer %d>", e.producers[id])
}

// text replaces what a run chose in a string.
func (e *env) text(s string) string {
	s = strings.ReplaceAll(s, e.nonce, "")
	if len(s) > 8 && e.target.cluster != "" {
		s = strings.ReplaceAll(s, e.target.cluster, "<cluster>")
	}
	for id, name := range e.ids {
		s = strings.ReplaceAll(s, id.String(), "<id "+name+">")
	}
	s = uuidText.ReplaceAllString(s, "<uuid>")
	s = timeText.ReplaceAllString(s, "<time>")
	s = agentText.ReplaceAllString(s, "@<hash>")
	if s == fmt.Sprint(int32(e.target.broker)) {
		return "<broker>"
	}
	return s
}

// records tells what batches there are: their offsets and kinds, not their times.
func records(b []byte) string {
	var out []string
	for len(b) > 0 {
		if len(b) < batch.HeaderSize {
			out = append(out, fmt.Sprintf("%d bytes", len(b)))
			break
		}
		h := batch.Header(b)
		size := int(int32(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]))) + 12
		if size > len(b) {
			out = append(out, "cut batch")
			break
		}
		attributes := uint16(b[21])<<8 | uint16(b[22])
		count := uint32(b[57])<<24 | uint32(b[58])<<16 | uint32(b[59])<<8 | uint32(b[60])
		out = append(out, fmt.Sprintf("batch at %d magic %d attributes %d count %d size %d", h.BaseOffset(), b[16], attributes, count, size))
		b = b[size:]
	}
	return strings.Join(out, ", ")
}

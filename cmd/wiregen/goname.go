package main

import "strings"

// initialisms are the words that Go writes in capitals.
var initialisms = map[string]string{
	"Acl": "ACL", "Acls": "ACLs", "Api": "API", "Elr": "ELR", "Id": "ID", "Ids": "IDs", "Isr": "ISR", "Sasl": "SASL",
}

// words splits a name in camel case.
func words(name string) (ws []string) {
	start := 0
	for i := 1; i < len(name); i++ {
		if name[i] >= 'A' && name[i] <= 'Z' && (name[i-1] < 'A' || name[i-1] > 'Z') {
			ws = append(ws, name[start:i])
			start = i
		}
	}
	return append(ws, name[start:])
}

// goName turns a name of Kafka's into one of Go: TopicId into TopicID.
func goName(name string) string {
	var b strings.Builder
	for _, w := range words(name) {
		if capital, ok := initialisms[w]; ok {
			w = capital
		}
		b.WriteString(w)
	}
	return b.String()
}

// fileName returns the name of the generated file of a schema: zz_init_producer_id.go for InitProducerId.
func fileName(name string) string {
	return "zz_" + strings.ToLower(strings.Join(words(name), "_")) + ".go"
}

// Package differential asks a kraftgo node what was asked of Apache Kafka, and compares the answers.
//
// A case is a function that sends requests over one connection; every answer is decoded with our codec and rendered as
// text, in which what differs from run to run (ids, times, ports) is a placeholder. Kafka's texts are kept in
// testdata/GROUP.kafka, so that the test needs no JVM:
//
//	go test ./cluster/e2e/differential -record 127.0.0.1:29092   # a fresh one-broker Kafka: rewrites GROUP.kafka
//	go test ./cluster/e2e/differential                           # compares a node of ours with them
//	go test ./cluster/e2e/differential -accept                   # rewrites GROUP.ours, for differences that are listed
//
// Every case runs twice: each key in the lowest version that Kafka serves, and in the highest that we serve.
//
// # What if
//
//   - a text differs from Kafka's, and is in no list of differences_test.go: the test fails and shows both;
//   - it is listed: then it must be what GROUP.ours has, so that a listed difference hides no other;
//   - a listed difference is gone: the test fails until the list says so.
package differential

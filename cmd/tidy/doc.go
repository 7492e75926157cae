// Package tidy is the rules of the tree as a test: what may import what, what pure packages must not do, that packages
// say what they are for, and how long files and functions may be. Run it with
//
//	go test ./cmd/tidy
//
// A rule that is not here is an opinion.
package tidy

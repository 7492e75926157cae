// Command wiregen turns message schemas into Go: structs, hardened decoders, exact sizes, encoders and a table of all.
//
//	wiregen -schema DIR -out DIR -package NAME
//
// It reads every *.msg file of the schema directory and writes one zz_*.go file for each, and zz_table.go, into the
// output directory. Generated files of messages that are gone are removed. The same schemas give the same bytes.
//
// # Schemas
//
//	# Heartbeat keeps a member of a classic group alive.
//	#
//	# v3: KIP-345, static members.
//	api 12 Heartbeat 0-4 flexible 4+
//
//	request
//	  GroupId          string
//	  GenerationId     int32
//	  MemberId         string
//	  GroupInstanceId  string?  3+
//
//	response
//	  ThrottleTimeMs  int32  1+
//	  ErrorCode       error
//
// The comment at the head becomes the documentation. The first line of the rest is one of
//
//	api KEY NAME VERSIONS [flexible N+] [unstable N+]     then the sections request and response
//	record SPACE TYPE NAME                                then key VERSIONS and value VERSIONS [flexible N+]
//	data NAME VERSIONS [flexible N+]                      then the section fields
//
// A field is a line
//
//	NAME TYPE [VERSIONS] [null VERSIONS] [tag N] [= DEFAULT] [# comment]
//
// VERSIONS is "3", "3+" or "3-7", and all that the message has when left out. A type is a scalar, a structure, or an
// array of them ("[]T"); "?" after it allows null wherever the field exists, "null VERSIONS" only in those versions.
// A structure's fields follow the line that first names it, indented by two more blanks; one that is used in several
// places stands at the end of its section under "struct NAME". Names are written as Kafka writes them, and become Go
// names (TopicId: TopicID). The scalars are in schema_types.go; those such as offset, broker or error have a type of
// package wire.
//
// A nullable field starts as null. Numbers and booleans may have another default than zero. The default "empty" of a
// tagged nullable array or structure says that an absent field is empty, so that null is written.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	schemas := flag.String("schema", "schema", "directory of the *.msg files")
	out := flag.String("out", ".", "directory of the generated Go files")
	pkg := flag.String("package", "", "name of the Go package")
	flag.Parse()
	if err := run(*schemas, *out, *pkg); err != nil {
		fmt.Fprintln(os.Stderr, "wiregen:", err)
		os.Exit(1)
	}
}

func run(schemas, out, pkg string) error {
	if pkg == "" {
		return fmt.Errorf("-package is missing")
	}
	files, err := generateDir(schemas, pkg)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(out, "zz_*.go"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if _, keep := files[filepath.Base(path)]; keep || strings.HasSuffix(path, "_test.go") {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generateDir returns the generated files by name.
func generateDir(dir, pkg string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.msg"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no *.msg files in %s", dir)
	}
	var all []*schema
	for _, path := range paths { // Glob sorts
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := parseSchema(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, s)
	}
	return generate(all, pkg)
}

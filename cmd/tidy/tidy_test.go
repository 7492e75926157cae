package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/kraftgo/kraftgo/"

	maxFileLines     = 1000
	maxFunctionLines = 100
)

// allowed lists what each folder may import of ours; a folder also covers those below it that are not listed. An entry
// covers the folders below it. "*" is everything.
var allowed = map[string][]string{
	"wire":                {"wire"},
	"wire/message":        {"wire"},
	"wire/record":         {"wire"},
	"wire/compress":       {"wire"},
	"wire/batch":          {"wire", "wire/compress"},
	"storage/vfs":         {},
	"storage/wal":         {"wire", "storage/vfs"},
	"storage":             {"wire", "storage/vfs", "storage/wal"},
	"storage/disk":        {"wire", "storage"},
	"storage/kv":          {"wire", "storage/vfs"},
	"replication":         {"wire"},
	"replication/replica": {"wire", "replication", "storage"},
	"metadata":            {"wire"},
	"metadata/config":     {"wire"},
	"metadata/control":    {"wire", "metadata", "metadata/config"},
	"metadata/feed":       {"wire", "metadata", "storage/vfs"},
	"metadata/quorum":     {"wire", "metadata", "storage/vfs"},
	"coordinator/group":   {"wire", "metadata"},
	"coordinator/offset":  {"wire", "metadata"},
	"coordinator/runtime": {"wire", "metadata", "coordinator", "storage/kv"},
	"cluster/socket":      {},
	"cluster/listen":      {"wire", "cluster/socket"},
	"cluster/admin":       {},
	"cluster/lifecycle":   {"wire", "metadata"},
	"cluster/api":         {"wire", "metadata", "replication", "storage", "coordinator", "cluster/listen", "cluster/lifecycle"},
	"cluster":             {"*"},
	"cmd/kraftgo":         {"cluster", "metadata/config", "metadata/control", "wire"},
	"cmd/bench":           {"cluster/e2e/acked"},
	"cmd/wiregen":         {},
	"cmd/tidy":            {},
}

// pure lists the packages that decide and do nothing: no goroutine, clock, file, socket, lock, logger or randomness.
var pure = []string{"replication", "metadata", "metadata/config", "metadata/control", "coordinator/group", "coordinator/offset", "wire", "wire/message", "wire/record"}

var impureImports = []string{"os", "net", "sync", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "os/exec", "io/fs"}

// noServer lists modules that must not be linked into what is shipped.
var forbidden = map[string]string{
	"github.com/twmb/franz-go/pkg/kfake": "a fake broker: our behaviour comes from the protocol and from Kafka itself",
	"github.com/boltdb/bolt":             "crashes under the race detector; raft-boltdb/v2 with bbolt takes its place",
}

type file struct {
	name    string // below the root, with slashes
	folder  string
	text    string
	test    bool
	made    bool // generated
	ast     *ast.File
	fileSet *token.FileSet
}

func tree(t *testing.T) []file {
	t.Helper()
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (rel != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" || rel == "cluster/e2e/clients") {
			return filepath.SkipDir
		}
		if d.IsDir() || path.Ext(rel) != ".go" {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f := file{name: rel, folder: path.Dir(rel), text: string(b), test: strings.HasSuffix(rel, "_test.go"), fileSet: token.NewFileSet()}
		f.made = strings.HasPrefix(f.text, "// Code generated")
		f.ast, err = parser.ParseFile(f.fileSet, p, b, parser.ParseComments)
		out = append(out, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d files found: this test does not see the tree", len(out))
	}
	return out
}

func (f *file) imports() []string {
	var out []string
	for _, i := range f.ast.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

func rule(folder string) ([]string, bool) {
	for f := folder; f != "."; f = path.Dir(f) {
		if r, ok := allowed[f]; ok {
			return r, true
		}
	}
	return nil, false
}

func covers(list []string, name string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return a == "*" || name == a || strings.HasPrefix(name, a+"/") })
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range tree(t) {
		list, ok := rule(f.folder)
		if !ok {
			t.Errorf("%s: folder %s has no rule of what it may import", f.name, f.folder)
			continue
		}
		for _, i := range f.imports() {
			if why, bad := forbidden[i]; bad {
				t.Errorf("%s imports %s: %s", f.name, i, why)
			}
			own, ok := strings.CutPrefix(i, module)
			if ok && !f.test && own != f.folder && !covers(list, own) {
				t.Errorf("%s imports %s; %s may import %v", f.name, own, f.folder, list)
			}
		}
	}
}

func TestPurePackagesDoNothing(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || !slices.Contains(pure, f.folder) {
			continue
		}
		for _, i := range f.imports() {
			if slices.Contains(impureImports, i) {
				t.Errorf("%s imports %s, and %s is pure", f.name, i, f.folder)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure package", f.fileSet.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Since", "Until"}, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure package", f.fileSet.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	documented := map[string]bool{}
	folders := map[string]bool{}
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		folders[f.folder] = true
		if f.ast.Doc != nil && len(f.ast.Doc.Text()) > 60 {
			documented[f.folder] = true
		}
	}
	for folder := range folders {
		if !documented[folder] {
			t.Errorf("package %s has no doc", folder)
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, f := range tree(t) {
		if f.made {
			continue
		}
		if n := strings.Count(f.text, "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines; %d are the most", f.name, n, maxFileLines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || f.test {
				continue
			}
			if n := f.fileSet.Position(fn.End()).Line - f.fileSet.Position(fn.Pos()).Line; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines; %d are the most", f.name, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

var leftOver = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func TestTextIsPlainAndFinished(t *testing.T) {
	for _, f := range tree(t) {
		for i, line := range strings.Split(f.text, "\n") {
			for _, r := range line {
				if r > 126 {
					t.Errorf("%s:%d: character %q is not ASCII", f.name, i+1, r)
					break
				}
			}
			if leftOver.MatchString(line) {
				t.Errorf("%s:%d: left over: %s", f.name, i+1, strings.TrimSpace(line))
			}
			if f.test && strings.Contains(line, "time.Sle"+"ep(") {
				t.Errorf("%s:%d: a test sleeps; wait for a condition with a deadline", f.name, i+1)
			}
		}
	}
}

// The README's folder table names every folder at the top, and no other.
func TestReadmeNamesTheFolders(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)/?` \\|").FindAllStringSubmatch(string(readme), -1) {
		named = append(named, m[1])
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			there = append(there, e.Name())
		}
	}
	slices.Sort(named)
	if !slices.Equal(named, there) {
		t.Errorf("README names %v, the tree has %v", named, there)
	}
}

// Versions that were found to work together, and one that must not move.
func TestPinsStay(t *testing.T) {
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, pin := range []string{"github.com/hashicorp/raft-boltdb/v2 v2.3.0", "github.com/hashicorp/raft v1.8.0"} {
		if !strings.Contains(string(mod), pin) {
			t.Errorf("go.mod must pin %s: other versions do not build or work with each other", pin)
		}
	}
}

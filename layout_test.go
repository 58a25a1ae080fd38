// Package otad_test holds the tree to its own rules: which room may import
// which, that every package says what it is for, and which modules it leans on.
package otad_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// level says how high a room is: imports go to lower levels only. The longest
// prefix decides.
var level = map[string]int{
	"cmd":         4,
	"build":       4,
	"agent":       3,
	"ota/journal": 2,
	"ota/install": 2,
	"board/":      2,
	"transport/":  2,
	"ota":         1,
	"ota/swu":     1,
	"ota/zck":     1,
	"ota/policy":  1,
	"ota/schema":  1,
	"board":       1,
	"transport":   1,
	"ota/durable": 0,
	"ota/hook":    0,
	"ota/pace":    0,
}

// forTests are packages that only tests, the lab and each other may import.
var forTests = regexp.MustCompile(`(^|/)(\w*test|lab|rootfs|crashfs)$`)

type pkg struct {
	doc     string
	imports map[string][]string // imported path → files that are no tests
}

// packages parses the tree.
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	all := map[string]*pkg{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if all[dir] == nil {
			all[dir] = &pkg{imports: map[string][]string{}}
		}
		all[dir].add(path, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d packages: is this the root of the tree?", len(all))
	}
	return all
}

func (p *pkg) add(path string, f *ast.File) {
	if f.Doc != nil {
		p.doc += f.Doc.Text()
	}
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		p.imports[name] = append(p.imports[name], path)
	}
}

// room returns the level of a package and the room that it is in.
func room(path string) (string, int) {
	best := ""
	for name := range level {
		inside := path == strings.TrimSuffix(name, "/") && !strings.HasSuffix(name, "/") ||
			strings.HasPrefix(path, strings.TrimSuffix(name, "/")+"/")
		if inside && len(name) > len(best) {
			best = name
		}
	}
	if best == "" {
		return "", -1
	}
	return best, level[best]
}

func TestImportsGoDown(t *testing.T) {
	for path, p := range packages(t) {
		if path == "." {
			continue
		}
		_, from := room(path)
		if from < 0 {
			t.Errorf("%s is in no room: docs/ARCHITECTURE.md names the rooms", path)
			continue
		}
		for imported, files := range p.imports {
			target, ours := strings.CutPrefix(imported, "otad/")
			if !ours || forTests.MatchString(path) {
				continue
			}
			if forTests.MatchString(target) && !strings.HasPrefix(path, "cmd/otalab") {
				t.Errorf("%s imports %s, which is for tests (%v)", path, target, files)
			}
			_, to := room(target)
			child := strings.HasPrefix(target, path+"/") && from >= 3
			sibling := from == 4 && strings.HasPrefix(target, "cmd/internal/")
			if to >= from && !child && !sibling {
				t.Errorf("%s (level %d) imports %s (level %d): imports go down (%v)", path, from, target, to, files)
			}
		}
	}
}

// Only cmd may name concrete boards and transports.
func TestOnlyCommandsWire(t *testing.T) {
	for path, p := range packages(t) {
		if strings.HasPrefix(path, "cmd/") || forTests.MatchString(path) {
			continue
		}
		for imported := range p.imports {
			target, _ := strings.CutPrefix(imported, "otad/")
			concrete := strings.HasPrefix(target, "board/") || strings.HasPrefix(target, "transport/")
			if concrete && !strings.HasPrefix(target, path+"/") {
				t.Errorf("%s names %s: only cmd wires boards and transports", path, target)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for path, p := range packages(t) {
		if path == "." {
			continue
		}
		if len(strings.Fields(p.doc)) < 8 {
			t.Errorf("%s has no package comment that says its job: %q", path, p.doc)
		}
	}
}

// The modules that the programs lean on, and those of the lab and the tests.
// docs/dependencies.md says why each of them.
var (
	agentModules = []string{
		"github.com/cavaliergopher/grab/v3",
		"github.com/coreos/go-systemd/v22",
		"github.com/eclipse/paho.mqtt.golang",
		"github.com/klauspost/compress",
		"github.com/pelletier/go-toml/v2",
		"github.com/ulikunitz/xz",
		"go.bug.st/serial",
		"go.etcd.io/bbolt",
		"golang.org/x/sys",
	}
	deskModules = []string{ // of otactl alone
		"github.com/charmbracelet/bubbletea",
	}
	labModules = []string{
		"github.com/diskfs/go-diskfs",
		"github.com/gorilla/websocket",
		"github.com/mochi-mqtt/server/v2",
		"github.com/santhosh-tekuri/jsonschema/v6",
	}
)

func TestDirectDependencies(t *testing.T) {
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(agentModules, deskModules, labModules)
	var got []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && !strings.Contains(line, "// indirect") {
			got = append(got, fields[0])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("direct dependencies:\n got %q\nwant %q", got, want)
	}
	for _, module := range want {
		if !strings.Contains(string(docs), "`"+module+"`") {
			t.Errorf("docs/dependencies.md does not say why %s", module)
		}
	}
}

// What the desk's program is built with is not in the box's: asked of the
// linker's own list, so that no way around counts.
func TestDeskModulesStayOutOfTheAgent(t *testing.T) {
	t.Parallel()
	deps := func(program string) string {
		out, err := exec.Command("go", "list", "-deps", program).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	box, desk := deps("./cmd/otad"), deps("./cmd/otactl")
	for _, module := range slices.Concat(deskModules, []string{"github.com/charmbracelet/", "github.com/muesli/"}) {
		if strings.Contains(box, module) {
			t.Errorf("otad is linked with %s", module)
		}
		if !strings.Contains(desk, module) {
			t.Errorf("otactl is not linked with %s: is the list right?", module)
		}
	}
}

// The lab's modules stay out of the box.
func TestLabModulesStayOutOfTheAgent(t *testing.T) {
	for path, p := range packages(t) {
		if forTests.MatchString(path) || strings.HasPrefix(path, "cmd/otalab") {
			continue
		}
		for imported, files := range p.imports {
			for _, module := range labModules {
				if imported == module || strings.HasPrefix(imported, module+"/") {
					t.Errorf("%s imports %s, which is for the lab (%v)", path, imported, files)
				}
			}
		}
	}
}

package ota

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// codesIn reads the names and values of all codes from codes.go.
func codesIn(t *testing.T) map[string]Code {
	t.Helper()
	codes := map[string]Code{}
	for name, value := range constants(t, "codes.go") {
		if strings.HasPrefix(name, "Code") {
			text, err := strconv.Unquote(value)
			if err != nil {
				t.Fatal(err)
			}
			codes[name] = Code(text)
		}
	}
	return codes
}

func parseFile(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// constants reads the constants of a file as they are written.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	list := map[string]string{}
	ast.Inspect(parseFile(t, path), func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && len(spec.Values) == 1 {
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				list[spec.Names[0].Name] = value.Value
			}
		}
		return true
	})
	return list
}

// exitCodes reads from ExitCode of the programs which code ends with which
// exit code; those that it does not name end with 1.
func exitCodes(t *testing.T) map[string]string {
	t.Helper()
	const path = "../cmd/internal/cli/cli.go"
	values, exits := constants(t, path), map[string]string{}
	ast.Inspect(parseFile(t, path), func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Name.Name != "ExitCode" {
			return true
		}
		ast.Inspect(f, func(n ast.Node) bool {
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			result := clause.Body[0].(*ast.ReturnStmt).Results[0].(*ast.Ident).Name
			for _, e := range clause.List {
				exits[e.(*ast.SelectorExpr).Sel.Name] = values[result]
			}
			return false
		})
		return false
	})
	if len(exits) == 0 {
		t.Fatalf("no ExitCode in %s", path)
	}
	return exits
}

func TestErrorsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[Code][]string{}
	for _, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		code := Code(strings.Trim(cells[0], "`"))
		if len(cells) != 5 || rows[code] != nil {
			t.Errorf("row %q: %d cells, or there twice", line, len(cells))
			continue
		}
		rows[code] = cells[1:]
	}
	exits := exitCodes(t)
	known := map[Code]bool{}
	for name, code := range codesIn(t) {
		known[code] = true
		row, ok := rows[code]
		if !ok {
			t.Errorf("%s (%q) is not in docs/errors.md", name, code)
			continue
		}
		exit := exits[name]
		if exit == "" {
			exit = "1"
		}
		if row[1] != exit {
			t.Errorf("%q: the page says exit code %s, it is %s", code, row[1], exit)
		}
		if !slices.Contains([]Class{Transient, Permanent, Refused}, Class(row[0])) {
			t.Errorf("%q: the page says class %q", code, row[0])
		}
	}
	for code := range rows {
		if !known[code] {
			t.Errorf("docs/errors.md has %q, which is no code", code)
		}
	}
}

func TestCodesAreWords(t *testing.T) {
	t.Parallel()
	seen := map[Code]string{}
	for name, code := range codesIn(t) {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(string(code)) {
			t.Errorf("%s is %q", name, code)
		}
		if other, twice := seen[code]; twice {
			t.Errorf("%s and %s are both %q", name, other, code)
		}
		seen[code] = name
	}
}

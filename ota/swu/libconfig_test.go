package swu

import (
	"fmt"
	"strings"
	"testing"
)

// show writes a tree in a form that is easy to compare.
func show(n *node) string {
	var parts []string
	for _, c := range n.children {
		parts = append(parts, show(c))
	}
	name := n.name
	if name != "" {
		name += "="
	}
	inner := strings.Join(parts, " ")
	switch n.kind {
	case groupNode:
		return name + "{" + inner + "}"
	case listNode:
		return name + "(" + inner + ")"
	case arrayNode:
		return name + "[" + inner + "]"
	case stringNode:
		return name + fmt.Sprintf("%q", n.text)
	}
	text, _ := n.plain()
	return name + text
}

func TestLibconfig(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"nothing", "", "{}"},
		{"separators", `a = 1; b : 2, c = 3 d = 4`, "{a=1 b=2 c=3 d=4}"},
		{"comments of three kinds", "# one\na = 1; // two\n/* three\n * = 3; */ b = 2; # end", "{a=1 b=2}"},
		{"comment signs in strings", `a = "# // /* */";`, `{a="# // /* */"}`},
		{"groups, with and without end sign", "a = { b : { c = 1; } }; d: {}", "{a={b={c=1}} d={}}"},
		{"lists of anything", `a = ( 1, "x", ( ), { b = 2; }, [ 1, 2 ] );`, `{a=(1 "x" () {b=2} [1 2])}`},
		{"comma behind the last", "a = ( 1, ); b = [ 1, ];", "{a=(1) b=[1]}"},
		{"integers", "a = -5; b = +7; c = 0x1F; d = 0XABCDEF; e = 5000000000; f = 12L; g = 0xFFL; h = 9LL; i = 007", "{a=-5 b=7 c=31 d=11259375 e=5000000000 f=12 g=255 h=9 i=7}"},
		{"floats", "a = 1.5; b = -2.5e-3; c = 1e10; d = .5; e = 3.", "{a=1.5 b=-2.5e-3 c=1e10 d=.5 e=3.}"},
		{"booleans in any case", "a = true; b = FALSE; c = True", "{a=true b=false c=true}"},
		{"strings that follow each other", "a = \"one \" # here\n \"two\" /* and */ \"three\";", `{a="one twothree"}`},
		{"escapes", `a = "\"\\\n\t\x41\/\.";`, `{a="\"\\\n\tA\\/\\."}`},
		{"string across lines", "a = \"x\ny\";", `{a="x\ny"}`},
		{"names", "hardware-compatibility = 1; *a* = 2; A_1-b = 3", "{hardware-compatibility=1 *a*=2 A_1-b=3}"},
		{"Windows lines", "a = 1;\r\nb = 2;\r\n", "{a=1 b=2}"},
	}
	for _, tt := range tests {
		root, err := parseLibconfig([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got := show(root); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestLibconfigRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		line     int
		words    string
	}{
		{"include", "a = 1;\n@include \"/etc/passwd\"\n", 2, "@include"},
		{"no value", "a = ;", 1, "expected a value"},
		{"no sign", "a 1", 1, "expected = or :"},
		{"no name", "\n\n= 1", 3, "expected a setting"},
		{"set twice", "a = 1;\nb = 2;\na = 3;", 3, `"a" is set twice`},
		{"group not closed", "a = {\n b = 1;\n", 3, "end of the text"},
		{"list not closed", "a = (1, 2", 1, "expected ,"},
		{"list without comma", "a = (1 2)", 1, "expected ,"},
		{"brace too many", "a = 1; }", 1, "expected a setting"},
		{"string not closed", "b = 1;\na = \"x;\n\n", 2, "does not end"},
		{"comment not closed", "\n/* a = 1", 2, "does not end"},
		{"number too large", "a = 99999999999999999999", 1, "64 bits"},
		{"no number", "a = 12ab", 1, "not a number"},
		{"hexadecimal sign", "a = 0x-5", 1, "not a number"},
		{"array of arrays", "a = [ [1] ]", 1, "plain values"},
		{"array of two kinds", "a = [ 1,\n \"x\" ]", 2, "one kind"},
		{"NUL in a string", "a = \"x\x00\"", 1, "NUL"},
		{"strange character", "a = $", 1, "unexpected character"},
		{"deep", strings.Repeat("a={", maxDepth+1), 1, "deeper"},
		{"deep lists", "a=" + strings.Repeat("(", 1<<16), 1, "deeper"},
		{"many", "a = (" + strings.Repeat("1,", maxNodes) + ")", 1, "more than"},
		{"true as a name", "true = 1", 1, "expected a setting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseLibconfig([]byte(tt.in))
			wantError(t, err, Damaged, tt.words, fmt.Sprintf("sw-description line %d:", tt.line))
		})
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	in := "{\n \"a\": 1, \"b\": [\n true, null, \"x\\u00e9\", 1.5, {\"c\": {}}\n ],\n \"n\": 9007199254740993 }\n"
	root, err := parseJSON([]byte(in))
	must(t, err)
	if got, want := show(root), `{a=1 b=(true  "xé" 1.5 {c={}}) n=9007199254740993}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if c := root.child("b").children[4].child("c"); c.line != 3 {
		t.Errorf("c is on line %d", c.line)
	}
	if n := root.child("n"); n.line != 5 {
		t.Errorf("n is on line %d", n.line)
	}
}

func TestJSONComments(t *testing.T) {
	t.Parallel()
	in := "{ /* one\n two */ \"a\": \"// \\\" /* */\", // three\n \"b\": 2 }//"
	root, err := parseJSON([]byte(in))
	must(t, err)
	if got, want := show(root), `{a="// \" /* */" b=2}`; got != want || root.child("b").line != 3 {
		t.Errorf("%s, want %s; b is on line %d", got, want, root.child("b").line)
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		line     int
	}{
		{"nothing", "", 1},
		{"cut short", "{\n\"a\": [1,\n", 2},
		{"no object", "[1]", 1},
		{"more behind", "{}\n{}", 1},
		{"set twice", "{\"a\": 1,\n\"a\": 2}", 2},
		{"syntax", "{\n\"a\" 1}", 2},
		{"NUL", "{\"a\": \"\\u0000\"}", 1},
		{"comment that does not end", "{\n/* \"a\": 1}", 2},
		{"slash", "{\"a\": / 1}", 1},
		{"deep", "{\"a\":" + strings.Repeat("[", 9000), 1},
		{"many", "{\"a\":[" + strings.Repeat("1,", maxNodes) + "1]}", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseJSON([]byte(tt.in))
			wantError(t, err, Damaged, fmt.Sprintf("line %d:", tt.line))
		})
	}
}

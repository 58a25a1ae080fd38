package swu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// renderMembers writes a group's settings in libconfig. Numbers are written as
// 64-bit ones, which every version of SWUpdate reads into its sizes.
func renderMembers(b *bytes.Buffer, group *node, depth int) {
	for _, c := range group.children {
		fmt.Fprintf(b, "%s%s = ", indent(depth), c.name)
		renderValue(b, c, depth)
		b.WriteString(";\n")
	}
}

func renderValue(b *bytes.Buffer, n *node, depth int) {
	switch n.kind {
	case groupNode:
		b.WriteString("{\n")
		renderMembers(b, n, depth+1)
		b.WriteString(indent(depth) + "}")
	case listNode, arrayNode:
		open, end := "(", ")"
		if n.kind == arrayNode {
			open, end = "[", "]"
		}
		b.WriteString(open)
		for i, c := range n.children {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n" + indent(depth+1))
			renderValue(b, c, depth+1)
		}
		b.WriteString("\n" + indent(depth) + end)
	case stringNode:
		b.WriteString(quoteLibconfig(n.text))
	case floatNode:
		b.WriteString(n.text)
	case intNode:
		fmt.Fprintf(b, "%dL", n.number)
	default:
		fmt.Fprint(b, n.truth)
	}
}

// quoteLibconfig writes a string so that libconfig reads the same bytes.
func quoteLibconfig(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isLibconfigName(s string) bool {
	for i, c := range []byte(s) {
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_') {
			return false
		}
	}
	return s != "" && !strings.EqualFold(s, "true") && !strings.EqualFold(s, "false")
}

// renderJSON writes a tree as indented JSON, names in their order.
func renderJSON(b *bytes.Buffer, n *node, depth int) {
	open, end := "{", "}"
	switch n.kind {
	case groupNode:
	case listNode, arrayNode:
		open, end = "[", "]"
	case stringNode:
		b.Write(quoteJSON(n.text))
		return
	case floatNode:
		b.WriteString(n.text)
		return
	case nullNode:
		b.WriteString("null")
		return
	case intNode:
		fmt.Fprint(b, n.number)
		return
	default:
		fmt.Fprint(b, n.truth)
		return
	}
	b.WriteString(open)
	for i, c := range n.children {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n" + indent(depth+1))
		if n.kind == groupNode {
			fmt.Fprintf(b, "%s: ", quoteJSON(c.name))
		}
		renderJSON(b, c, depth+1)
	}
	b.WriteString("\n" + indent(depth) + end)
}

// quoteJSON writes a string; marshalling one cannot fail.
func quoteJSON(s string) []byte {
	q, _ := json.Marshal(s)
	return q
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

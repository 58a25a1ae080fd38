package swu

import (
	"strconv"
	"strings"
)

// Bounds on a description's tree, for both languages. Real ones have a few
// hundred nodes and six levels.
const (
	maxDepth = 32
	maxNodes = 16 << 10
)

// nodeKind says what a node holds.
type nodeKind string

const (
	groupNode  nodeKind = "group"
	listNode   nodeKind = "list" // of anything; JSON arrays are lists
	arrayNode  nodeKind = "array"
	stringNode nodeKind = "string"
	intNode    nodeKind = "integer"
	floatNode  nodeKind = "number"
	boolNode   nodeKind = "boolean"
	nullNode   nodeKind = "null" // JSON only
)

// node is a setting of the description, whichever language it is written in.
type node struct {
	kind     nodeKind
	name     string // of a group's child
	line     int    // from 1
	text     string // stringNode: the value; floatNode: as written
	number   int64  // intNode
	truth    bool   // boolNode
	children []*node
}

// child finds a group's child by name, or nil.
func (n *node) child(name string) *node {
	if n == nil || n.kind != groupNode {
		return nil
	}
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// find walks down a path of names, or returns nil.
func (n *node) find(path []string) *node {
	for _, name := range path {
		n = n.child(name)
	}
	return n
}

func (n *node) isList() bool { return n.kind == listNode || n.kind == arrayNode }

// stringOf returns the text of the child called name; "" if there is none.
func (n *node) stringOf(name string) (string, error) {
	c := n.child(name)
	if c == nil {
		return "", nil
	}
	if c.kind != stringNode {
		return "", c.wrongKind(stringNode)
	}
	return c.text, nil
}

// boolOf returns the truth of the child called name; otherwise if there is none.
// Besides booleans, "enabled" and "disabled" are understood, and the words
// "true" and "false", which producers quote by mistake.
func (n *node) boolOf(name string, otherwise bool) (bool, error) {
	c := n.child(name)
	switch {
	case c == nil:
		return otherwise, nil
	case c.kind == boolNode:
		return c.truth, nil
	case c.kind == stringNode && (c.text == "enabled" || c.text == "true"):
		return true, nil
	case c.kind == stringNode && (c.text == "disabled" || c.text == "false"):
		return false, nil
	}
	return false, c.wrongKind(boolNode)
}

// sizeOf returns the bytes that the child called name gives, as a number or as
// a string with K, M or G behind it; -1 if there is none.
func (n *node) sizeOf(name string) (int64, error) {
	c := n.child(name)
	if c == nil {
		return -1, nil
	}
	size, ok := c.number, c.kind == intNode
	if c.kind == stringNode {
		size, ok = parseSize(c.text)
	}
	if !ok || size < 0 {
		return 0, lineError(Unsupported, c.line, "%s must be a number of bytes, with K, M or G behind it if it is a string", name)
	}
	return size, nil
}

// parseSize reads "4096", "0x1000", "16K", "8M" or "1G".
func parseSize(s string) (int64, bool) {
	digits := strings.TrimRight(s, "KMG")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}
	by, known := shift[s[len(digits):]]
	v, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || !known || v < 0 || v > (1<<62)>>by {
		return 0, false
	}
	return v << by, true
}

func (n *node) wrongKind(want nodeKind) error {
	return lineError(Unsupported, n.line, "%s must be a %s, not a %s", n.name, want, n.kind)
}

// plain returns a scalar's value as text.
func (n *node) plain() (string, bool) {
	switch n.kind {
	case stringNode, floatNode:
		return n.text, true
	case intNode:
		return strconv.FormatInt(n.number, 10), true
	case boolNode:
		return strconv.FormatBool(n.truth), true
	}
	return "", false
}

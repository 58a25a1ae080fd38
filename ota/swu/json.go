package swu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// parseJSON reads a description in JSON into the same tree as libconfig's.
// Names that are set twice are refused: readers differ in which one counts.
// Comments are allowed, because SWUpdate's reader (json-c) allows them.
func parseJSON(b []byte) (*node, error) {
	b = blankComments(b)
	p := &jsonParser{decoder: json.NewDecoder(bytes.NewReader(b)), text: b, line: 1}
	p.decoder.UseNumber()
	root, err := p.readValue("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.decoder.Token(); err != io.EOF {
		return nil, p.fail("there is more after the end")
	}
	if root.kind != groupNode {
		return nil, p.fail("the description must be an object, not a %s", root.kind)
	}
	return root, nil
}

// jsonParser turns tokens into nodes; offset and line follow the decoder.
type jsonParser struct {
	decoder *json.Decoder
	text    []byte
	offset  int
	line    int
	nodes   int
}

func (p *jsonParser) fail(format string, args ...any) error {
	return lineError(Damaged, p.line, format, args...)
}

// token returns the next token and counts lines up to its end.
func (p *jsonParser) token() (json.Token, error) {
	t, err := p.decoder.Token()
	at := int(p.decoder.InputOffset())
	p.line += bytes.Count(p.text[p.offset:at], []byte("\n"))
	p.offset = at
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, p.fail("%w", err)
	}
	return t, nil
}

func (p *jsonParser) readValue(name string, depth int) (*node, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, p.fail("more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return nil, p.fail("nested deeper than %d levels", maxDepth)
	}
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	n := &node{name: name, line: p.line}
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			n.kind = groupNode
			return n, p.members(n, depth)
		}
		n.kind = listNode
		return n, p.elements(n, depth)
	case string:
		n.kind, n.text = stringNode, v
		if bytes.IndexByte([]byte(v), 0) >= 0 {
			return nil, p.fail("a string holds a NUL")
		}
	case bool:
		n.kind, n.truth = boolNode, v
	case json.Number:
		n.kind, n.text = floatNode, v.String()
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			n.kind, n.text, n.number = intNode, "", i
		}
	case nil:
		n.kind = nullNode
	}
	return n, nil
}

func (p *jsonParser) members(group *node, depth int) error {
	names := map[string]bool{}
	for p.decoder.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		name := fmt.Sprint(t)
		if names[name] {
			return p.fail("%q is set twice", name)
		}
		names[name] = true
		n, err := p.readValue(name, depth+1)
		if err != nil {
			return err
		}
		group.children = append(group.children, n)
	}
	_, err := p.token()
	return err
}

func (p *jsonParser) elements(list *node, depth int) error {
	for p.decoder.More() {
		n, err := p.readValue("", depth+1)
		if err != nil {
			return err
		}
		list.children = append(list.children, n)
	}
	_, err := p.token()
	return err
}

// blankComments returns b with every comment outside strings replaced by
// spaces, so that offsets and lines stay what they are.
func blankComments(b []byte) []byte {
	b = bytes.Clone(b)
	inString := false
	for i := 0; i < len(b); i++ {
		end := 0
		switch rest := b[i:]; {
		case inString && rest[0] == '\\':
			i++
		case rest[0] == '"':
			inString = !inString
		case inString:
		case bytes.HasPrefix(rest, []byte("//")):
			if end = bytes.IndexByte(rest, '\n'); end < 0 {
				end = len(rest)
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			if end = bytes.Index(rest[2:], []byte("*/")) + 4; end < 4 {
				return b // it does not end: the decoder will refuse it
			}
		}
		for j := i; j < i+end; j++ {
			if b[j] != '\n' {
				b[j] = ' '
			}
		}
		i += max(0, end-1)
	}
	return b
}

package swu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseLibconfig reads the libconfig language (libconfig manual, chapter 2) in
// full, except @include, which SWUpdate does not allow either. The result is
// the root group.
func parseLibconfig(b []byte) (*node, error) {
	p := &libconfigParser{text: string(b), line: 1}
	p.advance()
	root := &node{kind: groupNode, line: 1}
	err := p.settings(root, tokenEnd, 0)
	if err != nil {
		return nil, err
	}
	return root, nil
}

// tokenKind is a piece of libconfig: one of the signs below, which stand for
// themselves, or one of the classes.
type tokenKind byte

const (
	tokenEnd    tokenKind = 0 // of the text
	tokenError  tokenKind = 1 // malformed; the parser's err says how
	tokenName   tokenKind = 'n'
	tokenString tokenKind = 's'
	tokenInt    tokenKind = 'i'
	tokenFloat  tokenKind = 'f'
	tokenBool   tokenKind = 'b'
)

func (k tokenKind) String() string {
	switch k {
	case tokenEnd:
		return "the end of the text"
	case tokenName:
		return "a name"
	case tokenString:
		return "a string"
	case tokenInt, tokenFloat:
		return "a number"
	case tokenBool:
		return "a boolean"
	}
	return fmt.Sprintf("%q", rune(k))
}

// libconfigParser is a recursive-descent parser with one token of lookahead:
// kind and value are the current token, tokenLine is where it starts.
type libconfigParser struct {
	text      string
	pos       int
	line      int
	nodes     int
	kind      tokenKind
	tokenLine int
	value     node // text, number or truth of the current token
	err       error
}

func (p *libconfigParser) fail(format string, args ...any) error {
	if p.kind == tokenError {
		return lineError(Damaged, p.tokenLine, "%w", p.err)
	}
	return lineError(Damaged, p.tokenLine, format, args...)
}

// settings reads `name = value;` up to the sign end, into group.
func (p *libconfigParser) settings(group *node, end tokenKind, depth int) error {
	names := map[string]bool{}
	for p.kind != end {
		if p.kind != tokenName {
			return p.fail("expected a setting, found %v", p.kind)
		}
		name := p.value.text
		if names[name] {
			return p.fail("%q is set twice", name)
		}
		names[name] = true
		p.advance()
		if p.kind != '=' && p.kind != ':' {
			return p.fail("expected = or : after %q, found %v", name, p.kind)
		}
		p.advance()
		n, err := p.readValue(name, depth+1)
		if err != nil {
			return err
		}
		group.children = append(group.children, n)
		if p.kind == ';' || p.kind == ',' {
			p.advance()
		}
	}
	p.advance()
	return nil
}

// readValue reads a scalar, a group, an array or a list.
func (p *libconfigParser) readValue(name string, depth int) (*node, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, p.fail("more than %d settings", maxNodes)
	}
	if depth > maxDepth {
		return nil, p.fail("nested deeper than %d levels", maxDepth)
	}
	n := &node{name: name, line: p.tokenLine}
	switch p.kind {
	case '{':
		n.kind = groupNode
		p.advance()
		return n, p.settings(n, '}', depth)
	case '(':
		n.kind = listNode
		return n, p.elements(n, ')', depth)
	case '[':
		n.kind = arrayNode
		if err := p.elements(n, ']', depth); err != nil {
			return nil, err
		}
		return n, checkArray(n)
	case tokenString, tokenInt, tokenFloat, tokenBool:
		*n = p.value
		n.name, n.line = name, p.tokenLine
		p.advance()
		for n.kind == stringNode && p.kind == tokenString {
			n.text += p.value.text
			p.advance()
		}
		return n, nil
	}
	return nil, p.fail("expected a value for %q, found %v", name, p.kind)
}

// elements reads values between commas up to the sign end; a comma may stand
// behind the last one.
func (p *libconfigParser) elements(list *node, end tokenKind, depth int) error {
	p.advance()
	for p.kind != end {
		n, err := p.readValue("", depth+1)
		if err != nil {
			return err
		}
		list.children = append(list.children, n)
		if p.kind == ',' {
			p.advance()
		} else if p.kind != end {
			return p.fail("expected , or %v, found %v", end, p.kind)
		}
	}
	p.advance()
	return nil
}

// checkArray holds an array to its rule: scalars of one kind.
func checkArray(n *node) error {
	for _, c := range n.children {
		if c.kind == groupNode || c.isList() {
			return lineError(Damaged, c.line, "an array holds only plain values, not a %s", c.kind)
		}
		if c.kind != n.children[0].kind {
			return lineError(Damaged, c.line, "an array holds values of one kind, not a %s and a %s", n.children[0].kind, c.kind)
		}
	}
	return nil
}

// advance moves to the next token.
func (p *libconfigParser) advance() {
	if p.kind == tokenError {
		return
	}
	if err := p.skipBlank(); err != nil {
		p.kind, p.err = tokenError, err
		return
	}
	p.tokenLine, p.value = p.line, node{}
	if p.pos == len(p.text) {
		p.kind = tokenEnd
		return
	}
	var err error
	switch c := p.text[p.pos]; {
	case strings.IndexByte("=:;,{}()[]", c) >= 0:
		p.kind = tokenKind(c)
		p.pos++
	case c == '"':
		err = p.scanString()
	case isLetter(c) || c == '*':
		p.scanName()
	case isDigit(c) || strings.IndexByte("+-.", c) >= 0:
		err = p.scanNumber()
	case c == '@':
		err = errors.New("@include and other directives are not allowed")
	default:
		err = fmt.Errorf("unexpected character %q", c)
	}
	if err != nil {
		p.kind, p.err = tokenError, err
	}
}

// skipBlank passes over white space and comments: # and // up to the end of
// the line, /* */ across lines.
func (p *libconfigParser) skipBlank() error {
	for p.pos < len(p.text) {
		rest := p.text[p.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			p.skip(1)
		case rest[0] == '#' || strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			p.skip(end)
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				p.tokenLine = p.line
				return errors.New("the comment does not end")
			}
			p.skip(end + 4)
		default:
			return nil
		}
	}
	return nil
}

func (p *libconfigParser) skip(n int) {
	p.line += strings.Count(p.text[p.pos:p.pos+n], "\n")
	p.pos += n
}

// scanName reads a name, or true or false in any case.
func (p *libconfigParser) scanName() {
	start := p.pos
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if !isLetter(c) && !isDigit(c) && strings.IndexByte("-_*", c) < 0 {
			break
		}
		p.pos++
	}
	word := p.text[start:p.pos]
	if strings.EqualFold(word, "true") || strings.EqualFold(word, "false") {
		p.kind, p.value.kind, p.value.truth = tokenBool, boolNode, strings.EqualFold(word, "true")
		return
	}
	p.kind, p.value.text = tokenName, word
}

// scanString reads a string with its escapes. A backslash before any other
// character stands for itself, as in libconfig's own scanner.
func (p *libconfigParser) scanString() error {
	const escapes, meaning = `"\abfnrtv`, "\"\\\a\b\f\n\r\t\v"
	var s strings.Builder
	for i := p.pos + 1; i < len(p.text); i++ {
		c := p.text[i]
		if c == '"' {
			p.kind, p.value.kind, p.value.text = tokenString, stringNode, s.String()
			p.skip(i + 1 - p.pos)
			return nil
		}
		if c == 0 {
			return errors.New("a string holds a NUL")
		}
		if c != '\\' || i+1 == len(p.text) {
			s.WriteByte(c)
			continue
		}
		if k := strings.IndexByte(escapes, p.text[i+1]); k >= 0 {
			s.WriteByte(meaning[k])
			i++
			continue
		}
		if b, ok := hexEscape(p.text[i+1:]); ok {
			s.WriteByte(b)
			i += 3
			continue
		}
		s.WriteByte(c)
	}
	return errors.New("the string does not end")
}

// hexEscape reads x and two hexadecimal digits; a NUL is no part of a string.
func hexEscape(s string) (byte, bool) {
	if len(s) < 3 || s[0] != 'x' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(v), err == nil && v != 0
}

// scanNumber reads an integer, decimal or hexadecimal, with L or LL behind it
// when it is a long one, or a floating-point number.
func (p *libconfigParser) scanNumber() error {
	start := p.pos
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		sign := (c == '+' || c == '-') && (p.pos == start || p.text[p.pos-1]|0x20 == 'e' && !isHex(p.text[start:]))
		if !sign && !isDigit(c) && !isLetter(c) && c != '.' {
			break
		}
		p.pos++
	}
	word := p.text[start:p.pos]
	digits := strings.TrimSuffix(strings.TrimSuffix(word, "L"), "L")
	base, plain := 10, digits
	if isHex(digits) {
		base, plain = 16, digits[2:]
	}
	v, err := strconv.ParseInt(plain, base, 64)
	if err == nil && (base == 10 || isHexDigits(plain)) {
		p.kind, p.value.kind, p.value.number = tokenInt, intNode, v
		return nil
	}
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("the number %s does not fit 64 bits", word)
	}
	if _, err := strconv.ParseFloat(word, 64); err == nil && strings.Trim(word, "0123456789+-.eE") == "" {
		p.kind, p.value.kind, p.value.text = tokenFloat, floatNode, word
		return nil
	}
	return fmt.Errorf("%q is not a number", word)
}

func isHex(s string) bool { return len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x' }

// isHexDigits keeps signs out of hexadecimal numbers.
func isHexDigits(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// Package schema holds a JSON document against a JSON Schema.
//
// It knows the part of draft 2020-12 that describes settings: types, values,
// members, items, bounds, patterns, combinations and references within the
// schema. A keyword that it does not know is an error when the schema is read,
// never passed over: a document that is accepted fits all of the schema. The
// whole draft costs the box's program 576 KiB (a library with the number and
// plural forms of every language); a test holds this package to that library.
//
// Trust: the schema is part of the image; the document is anybody's. Its size
// and depth are bounded by the caller and by [MaxDepth].
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// MaxDepth bounds how deep documents and schemas may be nested.
const MaxDepth = 64

// Schema is a schema that was read. It is immutable.
type Schema struct {
	root *node
}

// node is one schema of the tree. Nil members say nothing.
type node struct {
	never      bool // the schema false
	types      []string
	values     []any // enum
	properties map[string]*node
	patterns   []patternNode
	additional *node
	names      *node // propertyNames
	required   []string
	items      *node
	all        []*node
	any        []*node
	one        []*node
	not        *node
	ref        string // "#/…", resolved by target
	target     *node

	minimum, maximum, above, below *big.Rat
	minLength, maxLength           *int
	minItems, maxItems             *int
	minProperties, maxProperties   *int
	pattern                        *regexp.Regexp
	uniqueItems                    bool
}

type patternNode struct {
	pattern *regexp.Regexp
	node    *node
}

// annotations say nothing about a document. "format" is one of them: that is
// what the draft says of it, too.
var annotations = []string{"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default",
	"examples", "deprecated", "readOnly", "writeOnly", "format"}

// types that a document can have; an integer is a number without a fraction.
var types = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// Parse reads a schema. An error names the place, as in "/properties/a".
func Parse(data []byte) (*Schema, error) {
	doc, err := Decode(data)
	if err != nil {
		return nil, err
	}
	r := reader{root: doc, nodes: map[string]*node{}}
	n, err := r.read(doc, "", 0)
	if err != nil {
		return nil, err
	}
	for len(r.refs) > 0 { // what a reference leads to may refer on
		from := r.refs[0]
		r.refs = r.refs[1:]
		if from.target, err = r.resolve(from.ref); err != nil {
			return nil, err
		}
	}
	return &Schema{root: n}, nil
}

// Decode reads one JSON value and nothing behind it; numbers stay as they are
// written. Members that are there twice are refused: readers differ on which
// of them counts.
func Decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", MaxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, isDelim := token.(json.Delim)
	if !isDelim {
		return token, nil
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	object := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		if _, twice := object[name.(string)]; twice {
			return nil, fmt.Errorf("the member %q is there twice", name)
		}
		if object[name.(string)], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}

// at makes the place of an error readable; escape is that of a JSON pointer.
func at(place string) string {
	if place == "" {
		return "at the top"
	}
	return "at " + place
}

func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// Violation says where a document does not fit, and why.
type Violation struct {
	Place string // a JSON pointer into the document, "" for the top
	Text  string
}

func (v *Violation) Error() string { return at(v.Place) + ": " + v.Text }

// Validate holds a document, as [Decode] gives it, against the schema. The
// error is the first *[Violation], in the order of the members' names.
func (s *Schema) Validate(document any) error {
	if v := s.root.check(document, "", 0); v != nil {
		return v
	}
	return nil
}

func sorted(object map[string]any) []string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reader turns the JSON of a schema into nodes.
type reader struct {
	root  any
	nodes map[string]*node // by place, so that references may go round
	refs  []*node          // not resolved yet
}

// read reads the schema v at a place of the document.
func (r *reader) read(v any, place string, depth int) (*node, error) {
	if n := r.nodes[place]; n != nil {
		return n, nil
	}
	if depth > MaxDepth {
		return nil, fmt.Errorf("the schema is nested deeper than %d", MaxDepth)
	}
	n := &node{}
	r.nodes[place] = n
	if yes, is := v.(bool); is {
		n.never = !yes
		return n, nil
	}
	object, is := v.(map[string]any)
	if !is {
		return nil, fmt.Errorf("the schema %s is neither an object nor true or false", at(place))
	}
	for _, name := range sorted(object) {
		if slices.Contains(annotations, name) {
			continue
		}
		if err := r.keyword(n, name, object[name], place+"/"+escape(name), depth+1); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// keyword reads one keyword into n.
func (r *reader) keyword(n *node, name string, v any, place string, depth int) (err error) {
	switch name {
	case "$ref":
		ref, is := v.(string)
		if !is || !strings.HasPrefix(ref, "#") {
			return fmt.Errorf("%s: only references within the schema are known, as in \"#/$defs/name\"", at(place))
		}
		n.ref = ref
		r.refs = append(r.refs, n)
	case "type":
		n.types, err = typesOf(v, place)
	case "enum":
		list, is := v.([]any)
		if !is {
			return fmt.Errorf("%s: want a list", at(place))
		}
		n.values = list
	case "const":
		n.all = append(n.all, &node{values: []any{v}}) // beside enum, perhaps
	case "properties":
		n.properties, err = r.byName(v, place, depth)
	case "patternProperties":
		err = r.patterns(n, v, place, depth)
	case "additionalProperties":
		n.additional, err = r.read(v, place, depth)
	case "propertyNames":
		n.names, err = r.read(v, place, depth)
	case "required":
		n.required, err = texts(v, place)
	case "items":
		n.items, err = r.read(v, place, depth)
	case "allOf":
		var list []*node
		list, err = r.list(v, place, depth)
		n.all = append(n.all, list...)
	case "anyOf":
		n.any, err = r.list(v, place, depth)
	case "oneOf":
		n.one, err = r.list(v, place, depth)
	case "not":
		n.not, err = r.read(v, place, depth)
	case "pattern":
		n.pattern, err = compile(v, place)
	case "uniqueItems":
		unique, is := v.(bool)
		if !is {
			return fmt.Errorf("%s: want true or false", at(place))
		}
		n.uniqueItems = unique
	default:
		return r.bound(n, name, v, place)
	}
	return err
}

// bound reads a keyword whose value is a number.
func (r *reader) bound(n *node, name string, v any, place string) error {
	limits := map[string]**big.Rat{"minimum": &n.minimum, "maximum": &n.maximum, "exclusiveMinimum": &n.above, "exclusiveMaximum": &n.below}
	if to := limits[name]; to != nil {
		number, is := v.(json.Number)
		if *to = rational(number); !is || *to == nil {
			return fmt.Errorf("%s: want a number", at(place))
		}
		return nil
	}
	counts := map[string]**int{"minLength": &n.minLength, "maxLength": &n.maxLength, "minItems": &n.minItems, "maxItems": &n.maxItems,
		"minProperties": &n.minProperties, "maxProperties": &n.maxProperties}
	to := counts[name]
	if to == nil {
		return fmt.Errorf("%s: the keyword %q is not known here", at(place), name)
	}
	number, _ := v.(json.Number)
	count, err := strconv.Atoi(number.String())
	if err != nil || count < 0 {
		return fmt.Errorf("%s: want a whole number, 0 or more", at(place))
	}
	*to = &count
	return nil
}

// maxNumber bounds the text of a number: the exponent of 1e999999999 alone
// would fill the memory.
const maxNumber, maxExponent = 400, 400

// rational is the exact value of a number; nil for one beyond all sense.
func rational(number json.Number) *big.Rat {
	text := number.String()
	if len(text) > maxNumber {
		return nil
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e > maxExponent || e < -maxExponent {
			return nil
		}
	}
	value, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil
	}
	return value
}

func typesOf(v any, place string) ([]string, error) {
	list := []string{}
	if one, is := v.(string); is {
		list = append(list, one)
	} else {
		var err error
		if list, err = texts(v, place); err != nil {
			return nil, err
		}
	}
	for _, t := range list {
		if !slices.Contains(types, t) {
			return nil, fmt.Errorf("%s: there is no type %q", at(place), t)
		}
	}
	return list, nil
}

func texts(v any, place string) ([]string, error) {
	items, is := v.([]any)
	if !is {
		return nil, fmt.Errorf("%s: want a list of texts", at(place))
	}
	list := make([]string, len(items))
	for i := range items {
		if list[i], is = items[i].(string); !is {
			return nil, fmt.Errorf("%s: want a list of texts", at(place))
		}
	}
	return list, nil
}

func compile(v any, place string) (*regexp.Regexp, error) {
	text, is := v.(string)
	if !is {
		return nil, fmt.Errorf("%s: want a text", at(place))
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at(place), err)
	}
	return pattern, nil
}

func (r *reader) byName(v any, place string, depth int) (map[string]*node, error) {
	object, is := v.(map[string]any)
	if !is {
		return nil, fmt.Errorf("%s: want an object", at(place))
	}
	nodes := map[string]*node{}
	for _, name := range sorted(object) {
		n, err := r.read(object[name], place+"/"+escape(name), depth)
		if err != nil {
			return nil, err
		}
		nodes[name] = n
	}
	return nodes, nil
}

func (r *reader) patterns(n *node, v any, place string, depth int) error {
	object, is := v.(map[string]any)
	if !is {
		return fmt.Errorf("%s: want an object", at(place))
	}
	for _, name := range sorted(object) {
		pattern, err := compile(name, place)
		if err != nil {
			return err
		}
		inner, err := r.read(object[name], place+"/"+escape(name), depth)
		if err != nil {
			return err
		}
		n.patterns = append(n.patterns, patternNode{pattern, inner})
	}
	return nil
}

func (r *reader) list(v any, place string, depth int) ([]*node, error) {
	items, is := v.([]any)
	if !is || len(items) == 0 {
		return nil, fmt.Errorf("%s: want a list of schemas", at(place))
	}
	var nodes []*node
	for i, item := range items {
		n, err := r.read(item, place+"/"+strconv.Itoa(i), depth)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// resolve finds what a reference leads to.
func (r *reader) resolve(ref string) (*node, error) {
	v, place := r.root, ""
	for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(ref, "#"), "/"), "/") {
		if ref == "#" || ref == "#/" {
			break
		}
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		found := false
		switch inner := v.(type) {
		case map[string]any:
			v, found = inner[name]
		case []any:
			i, err := strconv.Atoi(name)
			if found = err == nil && i >= 0 && i < len(inner); found {
				v = inner[i]
			}
		}
		if !found {
			return nil, fmt.Errorf("the reference %q leads nowhere", ref)
		}
		place += "/" + part
	}
	return r.read(v, place, 0)
}

package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// check holds a value against n; nil when it fits. depth bounds references that
// go round without going down.
func (n *node) check(v any, place string, depth int) *Violation {
	wrong := func(format string, args ...any) *Violation {
		return &Violation{Place: place, Text: fmt.Sprintf(format, args...)}
	}
	if depth > 4*MaxDepth {
		return wrong("the schema refers to itself without end")
	}
	if n.never {
		return wrong("nothing may stand here")
	}
	if n.types != nil && !slices.ContainsFunc(n.types, func(t string) bool { return isType(v, t) }) {
		return wrong("it is %s, want %s", describe(v), strings.Join(n.types, " or "))
	}
	if n.values != nil && !slices.ContainsFunc(n.values, func(w any) bool { return same(v, w) }) {
		return wrong("it is none of the values allowed")
	}
	var found *Violation
	switch v := v.(type) {
	case map[string]any:
		found = n.checkObject(v, place, depth)
	case []any:
		found = n.checkArray(v, place, depth)
	case string:
		found = n.checkText(v, wrong)
	case json.Number:
		found = n.checkNumber(v, wrong)
	}
	if found != nil {
		return found
	}
	return n.checkCombined(v, place, depth, wrong)
}

func (n *node) checkObject(v map[string]any, place string, depth int) *Violation {
	for _, name := range n.required {
		if _, is := v[name]; !is {
			return &Violation{Place: place, Text: fmt.Sprintf("the member %q is missing", name)}
		}
	}
	if text := outside(len(v), n.minProperties, n.maxProperties, "members"); text != "" {
		return &Violation{Place: place, Text: text}
	}
	for _, name := range sorted(v) {
		inside := place + "/" + escape(name)
		if n.names != nil {
			if found := n.names.check(name, inside, depth+1); found != nil {
				return found
			}
		}
		schemas := n.forMember(name)
		for _, s := range schemas {
			if found := s.check(v[name], inside, depth+1); found != nil {
				return found
			}
		}
		if len(schemas) > 0 || n.additional == nil {
			continue
		}
		if n.additional.never {
			return &Violation{Place: place, Text: fmt.Sprintf("the member %q is not known", name)}
		}
		if found := n.additional.check(v[name], inside, depth+1); found != nil {
			return found
		}
	}
	return nil
}

// forMember lists what properties and patternProperties say of a member.
func (n *node) forMember(name string) (schemas []*node) {
	if s := n.properties[name]; s != nil {
		schemas = append(schemas, s)
	}
	for _, p := range n.patterns {
		if p.pattern.MatchString(name) {
			schemas = append(schemas, p.node)
		}
	}
	return schemas
}

func (n *node) checkArray(v []any, place string, depth int) *Violation {
	if text := outside(len(v), n.minItems, n.maxItems, "items"); text != "" {
		return &Violation{Place: place, Text: text}
	}
	for i := range v {
		if n.items != nil {
			if found := n.items.check(v[i], place+"/"+strconv.Itoa(i), depth+1); found != nil {
				return found
			}
		}
		if n.uniqueItems && slices.ContainsFunc(v[:i], func(w any) bool { return same(v[i], w) }) {
			return &Violation{Place: place, Text: fmt.Sprintf("item %d is there twice", i)}
		}
	}
	return nil
}

func (n *node) checkText(v string, wrong func(string, ...any) *Violation) *Violation {
	if text := outside(utf8.RuneCountInString(v), n.minLength, n.maxLength, "characters"); text != "" {
		return wrong("%s", text)
	}
	if n.pattern != nil && !n.pattern.MatchString(v) {
		return wrong("it does not match %q", n.pattern)
	}
	return nil
}

func (n *node) checkNumber(v json.Number, wrong func(string, ...any) *Violation) *Violation {
	value := rational(v)
	if value == nil {
		return wrong("the number is beyond all sense")
	}
	switch {
	case n.minimum != nil && value.Cmp(n.minimum) < 0:
		return wrong("%s is less than %s", v, n.minimum.RatString())
	case n.maximum != nil && value.Cmp(n.maximum) > 0:
		return wrong("%s is more than %s", v, n.maximum.RatString())
	case n.above != nil && value.Cmp(n.above) <= 0:
		return wrong("%s is not more than %s", v, n.above.RatString())
	case n.below != nil && value.Cmp(n.below) >= 0:
		return wrong("%s is not less than %s", v, n.below.RatString())
	}
	return nil
}

// checkCombined does references and combinations, which are about any value.
func (n *node) checkCombined(v any, place string, depth int, wrong func(string, ...any) *Violation) *Violation {
	if n.target != nil {
		if found := n.target.check(v, place, depth+1); found != nil {
			return found
		}
	}
	for _, s := range n.all {
		if found := s.check(v, place, depth+1); found != nil {
			return found
		}
	}
	fits := func(s *node) bool { return s.check(v, place, depth+1) == nil }
	count := 0
	for _, s := range n.one {
		if fits(s) {
			count++
		}
	}
	switch {
	case n.any != nil && !slices.ContainsFunc(n.any, fits):
		return wrong("it fits none of the schemas that it may")
	case n.one != nil && count != 1:
		return wrong("it fits %d of the schemas of which it must fit one", count)
	case n.not != nil && fits(n.not):
		return wrong("it is what it must not be")
	}
	return nil
}

// outside tells why a count is out of bounds, "" when it is not.
func outside(count int, low, high *int, what string) string {
	switch {
	case low != nil && count < *low:
		return fmt.Sprintf("%d %s are fewer than %d", count, what, *low)
	case high != nil && count > *high:
		return fmt.Sprintf("%d %s are more than %d", count, what, *high)
	}
	return ""
}

func isType(v any, name string) bool {
	number, isNumber := v.(json.Number)
	switch name {
	case "number":
		return isNumber
	case "integer":
		value := rational(number)
		return isNumber && value != nil && value.IsInt()
	}
	return describe(v) == name
}

func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// same tells whether two values are equal as JSON: 1 and 1.0 are.
func same(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, is := b.(json.Number)
		p, q := rational(x), rational(y)
		return is && p != nil && q != nil && p.Cmp(q) == 0
	case []any:
		y, is := b.([]any)
		return is && slices.EqualFunc(x, y, same)
	case map[string]any:
		y, is := b.(map[string]any)
		if !is || len(x) != len(y) {
			return false
		}
		for name := range x {
			if w, there := y[name]; !there || !same(x[name], w) {
				return false
			}
		}
		return true
	}
	switch b.(type) { // not comparable with ==
	case []any, map[string]any:
		return false
	}
	return a == b
}

package upgradelinktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// fields reads the members of a request as the server's framework does, and
// keeps the first failure. Texts and codes are those that were measured.
type fields struct {
	members map[string]any
	prefix  string // "eventData." below eventData
	nulls   bool   // null counts as absent
	err     *failure
}

// parse reads the body of a call. Only the first JSON value counts, and only a
// body with a Content-Length and the right Content-Type is read at all.
func (c *call) parse() *fields {
	f := &fields{members: map[string]any{}}
	if c.r.ContentLength <= 0 || !strings.Contains(c.r.Header.Get("Content-Type"), "application/json") {
		return f
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.UseNumber()
	var top any
	if err := d.Decode(&top); err != nil {
		f.err = &failure{code: 500001, msg: fmt.Sprintf("string: `%s`, error: `%s`", c.body, err)}
		return f
	}
	switch v := top.(type) {
	case map[string]any:
		f.members = v
	case []any:
		f.err = &failure{code: 500001, msg: "type mismatch"}
	default:
		f.err = &failure{code: 500001, msg: "unsupported type on setting field value"}
	}
	return f
}

// get returns a member, or nil when it is absent or something failed.
func (f *fields) get(name string, required bool) any {
	if f.err != nil {
		return nil
	}
	v, present := f.members[name]
	switch {
	case !present && required:
		f.err = &failure{code: 400002, msg: fmt.Sprintf("field %q is not set", f.prefix+name)}
	case present && v == nil && !f.nulls:
		f.err = &failure{code: 500001, msg: fmt.Sprintf("field %q mustn't be nil", f.prefix+name)}
	}
	return v
}

func (f *fields) str(name string, required bool) string {
	v := f.get(name, required)
	if f.err != nil || v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.err = &failure{code: 400003, msg: fmt.Sprintf(`type mismatch for field %q, expect "string", actual %q`, f.prefix+name, kindOf(v))}
	}
	return s
}

func (f *fields) int(name string, required bool) int64 {
	v := f.get(name, required)
	if f.err != nil || v == nil {
		return 0
	}
	number, ok := v.(json.Number)
	if !ok {
		f.err = &failure{code: 400003, msg: fmt.Sprintf("type mismatch for field %q", f.prefix+name)}
		return 0
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		f.err = &failure{code: 500001, msg: err.Error()}
	}
	return n
}

// object returns the members of a member; null and absence give none.
func (f *fields) object(name string) *fields {
	below := &fields{prefix: f.prefix + name + ".", nulls: true, err: f.err}
	if f.err != nil {
		return below
	}
	switch v := f.members[name].(type) {
	case nil:
	case map[string]any:
		below.members = v
	default:
		below.err = &failure{code: 400003, msg: fmt.Sprintf("type mismatch for field %q", f.prefix+name)}
	}
	return below
}

func kindOf(v any) string {
	switch v.(type) {
	case json.Number:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "slice"
	}
	return "map"
}

func jsonInt(n int64) string { return strconv.FormatInt(n, 10) }

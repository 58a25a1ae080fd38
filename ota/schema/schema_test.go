package schema

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// cases are documents for schemas. What fits is what the library says that
// knows the whole draft, see TestSameAsTheLibrary; want is for people.
var cases = []struct {
	name, schema string
	fit, unfit   []string
}{
	{"true", `true`, []string{`1`, `null`}, nil},
	{"false", `false`, nil, []string{`1`, `{}`}},
	{"one type", `{"type":"object"}`, []string{`{}`}, []string{`[]`, `"x"`, `null`, `1`}},
	{"several types", `{"type":["string","null"]}`, []string{`"x"`, `null`}, []string{`1`, `false`}},
	{"integer", `{"type":"integer"}`, []string{`1`, `1.0`, `-3`, `1e3`, `9007199254740993`}, []string{`1.5`, `"1"`, `1e-1`}},
	{"enum", `{"enum":[1,"a",null,[1],{"b":2}]}`, []string{`1`, `1.0`, `"a"`, `null`, `[1]`, `{"b":2.0}`}, []string{`2`, `"b"`, `[]`, `{"b":3}`, `false`}},
	{"const", `{"const":{"a":1}}`, []string{`{"a":1}`}, []string{`{"a":1,"b":2}`, `1`}},
	{"const beside enum", `{"enum":[1,2],"const":2}`, []string{`2`}, []string{`1`, `3`}},
	{"members", `{"properties":{"a":{"type":"string"}},"required":["a"]}`, []string{`{"a":"x"}`, `{"a":"x","b":1}`, `[]`}, []string{`{}`, `{"a":1}`}},
	{"no other members", `{"properties":{"a":{}},"patternProperties":{"^x-":{"type":"number"}},"additionalProperties":false}`,
		[]string{`{"a":1}`, `{"x-b":1}`, `{}`}, []string{`{"b":1}`, `{"x-b":"1"}`}},
	{"other members", `{"properties":{"a":{}},"additionalProperties":{"type":"number"}}`, []string{`{"a":"x","b":1}`}, []string{`{"b":"x"}`}},
	{"names of members", `{"propertyNames":{"pattern":"^[a-z]+$"}}`, []string{`{"ab":1}`}, []string{`{"A":1}`}},
	{"number of members", `{"minProperties":1,"maxProperties":2}`, []string{`{"a":1}`}, []string{`{}`, `{"a":1,"b":2,"c":3}`}},
	{"items", `{"items":{"type":"number"},"minItems":1,"maxItems":2,"uniqueItems":true}`, []string{`[1]`, `[1,2]`}, []string{`[]`, `[1,2,3]`, `["a"]`, `[1,1.0]`}},
	{"unique objects", `{"uniqueItems":true}`, []string{`[{"a":1},{"a":2}]`, `[0,false]`, `[[],{}]`}, []string{`[{"a":1},{"a":1}]`, `[[1],[1]]`}},
	{"texts", `{"minLength":2,"maxLength":3,"pattern":"^ä"}`, []string{`"äb"`, `"ä😀c"`, `1`}, []string{`"ä"`, `"äbcd"`, `"xy"`}},
	{"bounds", `{"minimum":1,"maximum":2.5}`, []string{`1`, `2.5`, `"x"`}, []string{`0.999`, `2.51`}},
	{"open bounds", `{"exclusiveMinimum":1,"exclusiveMaximum":2}`, []string{`1.5`}, []string{`1`, `2`}},
	{"great numbers", `{"maximum":9007199254740992}`, []string{`9007199254740992`}, []string{`9007199254740993`}},
	{"all", `{"allOf":[{"type":"number"},{"minimum":2}]}`, []string{`2`}, []string{`1`, `"x"`}},
	{"any", `{"anyOf":[{"type":"string"},{"minimum":2}]}`, []string{`"x"`, `2`}, []string{`1`}},
	{"one", `{"oneOf":[{"type":"number"},{"minimum":2}]}`, []string{`1`, `"x"`}, []string{`2`}},
	{"not", `{"not":{"type":"number"}}`, []string{`"x"`}, []string{`1`}},
	{"reference", `{"$defs":{"a/b":{"type":"number"}},"properties":{"n":{"$ref":"#/$defs/a~1b"}}}`, []string{`{"n":1}`}, []string{`{"n":"x"}`}},
	{"reference beside others", `{"$defs":{"n":{"type":"number"}},"$ref":"#/$defs/n","minimum":3}`, []string{`3`}, []string{`2`, `"x"`}},
	{"round and round", `{"properties":{"below":{"$ref":"#"}},"additionalProperties":false}`, []string{`{"below":{"below":{}}}`}, []string{`{"below":{"x":1}}`}},
	{"reference into items", `{"items":{"anyOf":[{"type":"number"},{"$ref":"#/items/anyOf/0"}]}}`, []string{`[1]`}, []string{`["x"]`}},
	{"annotations", `{"title":"t","description":"d","default":1,"examples":[1],"format":"uri","type":"string"}`, []string{`"no uri"`}, []string{`1`}},
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := Parse([]byte(c.schema))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range c.fit {
				if err := s.Validate(document(t, text)); err != nil {
					t.Errorf("%s does not fit: %v", text, err)
				}
			}
			for _, text := range c.unfit {
				if err := s.Validate(document(t, text)); err == nil {
					t.Errorf("%s fits", text)
				}
			}
		})
	}
}

func document(t *testing.T, text string) any {
	t.Helper()
	v, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// Every document of every case is held against every schema, by this package
// and by the library that knows all of the draft.
func TestSameAsTheLibrary(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, c := range cases {
		documents = append(append(documents, c.fit...), c.unfit...)
	}
	for _, c := range cases {
		ours, err := Parse([]byte(c.schema))
		if err != nil {
			t.Fatal(err)
		}
		theirs := library(t, c.schema)
		for _, text := range documents {
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			want, got := theirs.Validate(v), ours.Validate(document(t, text))
			if (want == nil) != (got == nil) {
				t.Errorf("schema %s, document %s: we say %v, the library %v", c.schema, text, got, want)
			}
		}
	}
}

func library(t testing.TB, text string) *jsonschema.Schema {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A schema that cannot be followed to the letter is refused, with its place.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, want string }{
		{`{`, "unexpected EOF"},
		{`{} {}`, "something follows"},
		{`[]`, "at the top is neither"},
		{`{"properties":{"a":{"if":{}}}}`, `at /properties/a/if: the keyword "if" is not known`},
		{`{"$ref":"other.json"}`, "only references within"},
		{`{"$ref":"#/$defs/none"}`, "leads nowhere"},
		{`{"type":"text"}`, `no type "text"`},
		{`{"type":["string",1]}`, "want a list of texts"},
		{`{"pattern":"("}`, "at /pattern: error parsing regexp"},
		{`{"minimum":"1"}`, "want a number"},
		{`{"minimum":1e999999999}`, "want a number"},
		{`{"minLength":-1}`, "want a whole number"},
		{`{"allOf":[]}`, "want a list of schemas"},
		{`{"a":1,"a":2}`, "twice"},
		{strings.Repeat(`{"not":`, 70) + `{}` + strings.Repeat(`}`, 70), "nested deeper"},
	} {
		if _, err := Parse([]byte(c.schema)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %q", c.schema, err, c.want)
		}
	}
}

func TestViolationSaysWhere(t *testing.T) {
	t.Parallel()
	s, err := Parse([]byte(`{"properties":{"list":{"items":{"properties":{"a/b":{"maximum":5}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Validate(document(t, `{"list":[{"a/b":1},{"a/b":6}]}`))
	if want := "at /list/1/a~1b: 6 is more than 5"; got == nil || got.Error() != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// Schemas that refer to themselves end, and so do great numbers.
func TestBounds(t *testing.T) {
	t.Parallel()
	s, err := Parse([]byte(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(document(t, `1`)); err == nil || !strings.Contains(err.Error(), "without end") {
		t.Errorf("round: %v", err)
	}
	if s, err = Parse([]byte(`{"maximum":5}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(document(t, `1e999999999`)); err == nil {
		t.Error("a number of a thousand million digits fits")
	}
}

func FuzzValidate(f *testing.F) {
	for _, c := range cases {
		for _, text := range append(c.fit[:len(c.fit):len(c.fit)], c.unfit...) {
			f.Add(c.schema, text)
		}
	}
	f.Fuzz(func(t *testing.T, schema, text string) {
		v, err := Decode([]byte(text))
		if err != nil {
			return
		}
		s, err := Parse([]byte(schema))
		if err != nil {
			return
		}
		_ = s.Validate(v) // it ends, and does not panic
	})
}

package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// appendTable adds a struct as a TOML table: its values, then its tables, which
// TOML wants behind them. The decoder's module can write too, and more; it would
// take 80 KiB of an ARMv7 program to do it.
func appendTable(out []byte, name string, table reflect.Value) []byte {
	type field struct {
		key   string
		value reflect.Value
	}
	var tables []field
	for i := range table.NumField() {
		key, value := table.Type().Field(i).Tag.Get("toml"), table.Field(i)
		if isTable(value.Type()) || value.Kind() == reflect.Slice && isTable(value.Type().Elem()) {
			tables = append(tables, field{name + key, value})
			continue
		}
		out = append(out, key+" = "...)
		out = append(appendValue(out, value), '\n')
	}
	for _, f := range tables {
		if f.value.Kind() == reflect.Struct {
			out = fmt.Appendf(out, "\n[%s]\n", f.key)
			out = appendTable(out, f.key+".", f.value)
			continue
		}
		for i := range f.value.Len() {
			out = fmt.Appendf(out, "\n[[%s]]\n", f.key)
			out = appendTable(out, f.key+".", f.value.Index(i))
		}
	}
	return out
}

// isTable tells a section from a value that is a struct, as [Window] is one.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// appendValue adds a text, a number, a truth, or a list of them.
func appendValue(out []byte, value reflect.Value) []byte {
	if marshaler, ok := value.Interface().(encoding.TextMarshaler); ok {
		text, err := marshaler.MarshalText()
		if err != nil {
			panic(err) // what was read can be written
		}
		return appendText(out, string(text))
	}
	switch value.Kind() {
	case reflect.String:
		return appendText(out, value.String())
	case reflect.Slice:
		out = append(out, '[')
		for i := range value.Len() {
			if i > 0 {
				out = append(out, ", "...)
			}
			out = appendValue(out, value.Index(i))
		}
		return append(out, ']')
	default:
		return fmt.Append(out, value.Interface())
	}
}

// appendText adds a string as JSON does, which TOML reads the same but for one
// character that it wants escaped.
func appendText(out []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always can be
	}
	return append(out, strings.ReplaceAll(string(quoted), "\x7f", `\u007f`)...)
}

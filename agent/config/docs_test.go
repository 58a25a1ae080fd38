package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// required are the keys without a default that must be set.
var required = map[string]bool{
	"device.model": true, "device.key": true, "server.access_key": true, "server.secret_key_file": true,
	"firmware.url_key": true, "trust.ca": true, "board.driver": true, "board.slot.name": true, "board.slot.device": true,
	"board.slot.part.name": true, "board.slot.part.device": true,
	"package.name": true, "package.kind": true, "package.key": true, "package.install": true, "package.trust": true,
}

// documented is one row of the page.
type documented struct{ kind, fallback, example string }

func readPage(t *testing.T) (page string, rows map[string]documented) {
	t.Helper()
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string]documented{}
	section := ""
	for _, line := range strings.Split(string(data), "\n") {
		if name, ok := strings.CutPrefix(line, "## ["); ok {
			section = strings.TrimSuffix(name, "]")
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 5 {
			t.Fatalf("row %q has %d cells", line, len(cells))
		}
		key := section + "." + strings.Trim(cells[0], "`")
		if _, twice := rows[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		rows[key] = documented{cells[1], strings.Trim(cells[2], "`"), strings.Trim(cells[4], "`")}
	}
	return string(data), rows
}

// keys calls f for every key with its value in c.
func keys(c *Config, f func(name string, v reflect.Value)) {
	sections := reflect.ValueOf(c).Elem()
	for i := range sections.NumField() {
		name, section := sections.Type().Field(i).Tag.Get("toml"), sections.Field(i)
		if section.Kind() == reflect.Slice { // [[package]]
			section = reflect.Zero(section.Type().Elem())
		}
		fields(name, section, f)
	}
}

func fields(name string, section reflect.Value, f func(name string, v reflect.Value)) {
	for k := range section.NumField() {
		key, v := name+"."+section.Type().Field(k).Tag.Get("toml"), section.Field(k)
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && v.Type().Elem() != reflect.TypeFor[Window]() {
			fields(key, reflect.Zero(v.Type().Elem()), f)
			continue
		}
		f(key, v)
	}
}

func kindOf(v reflect.Value) string {
	switch v.Interface().(type) {
	case string:
		return "text"
	case bool:
		return "yes or no"
	case []string:
		return "list"
	case int:
		return "number"
	case Duration:
		return "duration"
	case Size:
		return "size"
	case Rate:
		return "rate"
	case []Window:
		return "windows"
	}
	return "unknown " + v.Type().String()
}

// written is a value as it stands in the file.
func written(t *testing.T, v reflect.Value) string {
	t.Helper()
	switch value := v.Interface().(type) {
	case string:
		return fmt.Sprintf("%q", value)
	case bool:
		return fmt.Sprint(value)
	case int:
		return fmt.Sprint(value)
	case interface{ MarshalText() ([]byte, error) }:
		text, err := value.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%q", text)
	}
	if v.Len() == 0 {
		return "[]"
	}
	t.Fatalf("a default of %v", v)
	return ""
}

func TestPageHasEveryKey(t *testing.T) {
	t.Parallel()
	_, rows := readPage(t)
	c := Default()
	known := map[string]bool{}
	keys(&c, func(name string, v reflect.Value) {
		known[name] = true
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s is not on the page", name)
			return
		}
		if got := kindOf(v); row.kind != got {
			t.Errorf("%s: the page says %s, it is %s", name, row.kind, got)
		}
		want := "required"
		if !required[name] {
			want = written(t, v)
		}
		if row.fallback != want {
			t.Errorf("%s: the page says default %s, it is %s", name, row.fallback, want)
		}
	})
	for name := range rows {
		if !known[name] {
			t.Errorf("the page has %s, which is no key", name)
		}
	}
}

// Every example can be put into a file as it stands.
func TestPageExamples(t *testing.T) {
	t.Parallel()
	_, rows := readPage(t)
	for name, row := range rows {
		dot := strings.LastIndex(name, ".")
		section, key := "["+name[:dot]+"]", name[dot+1:]
		if section == "[board.slot]" || section == "[board.slot.part]" {
			section = "[[board.slot]]\n[" + section + "]"
		}
		if section == "[package]" {
			section = "[[package]]"
		}
		if _, err := parse([]byte(section + "\n" + key + " = " + row.example + "\n")); err != nil {
			t.Errorf("%s = %s: %v", name, row.example, err)
		}
	}
}

// The file at the top of the page lacks nothing but the box's own interface.
func TestPageLeast(t *testing.T) {
	t.Parallel()
	page, _ := readPage(t)
	_, after, _ := strings.Cut(page, "```toml\n")
	text, _, _ := strings.Cut(after, "```")
	c, err := load(t, strings.Replace(text, "mac:eth0", "box-1", 1))
	if err != nil {
		t.Fatal(err)
	}
	for name := range required {
		found := false
		keys(c, func(key string, v reflect.Value) { found = found || key == name && v.Len() > 0 })
		if !found && !strings.HasPrefix(name, "board.slot.") && !strings.HasPrefix(name, "package.") { // only where there are some
			t.Errorf("%s is required, and not in the file", name)
		}
	}
}

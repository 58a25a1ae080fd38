package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMaterials reads the bill of this very test program.
func TestMaterials(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := write(out, self); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same program gave two bills")
	}
	var b bom
	if err := json.Unmarshal(first.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	// The pattern is CycloneDX's own.
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`).MatchString(b.SerialNumber) {
		t.Errorf("serial number %q", b.SerialNumber)
	}
	program := b.Metadata.Component
	if b.Format != "CycloneDX" || len(program.Hashes) != 1 || len(program.Hashes[0].Content) != 64 {
		t.Errorf("got %+v", b.Metadata)
	}
	if !slices.ContainsFunc(program.Properties, func(p property) bool { return p.Name == "build:GOARCH" && p.Value != "" }) {
		t.Errorf("the settings of the build are missing: %+v", program.Properties)
	}
	var refs []string
	for _, c := range b.Components {
		refs = append(refs, c.Ref)
		if !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@") {
			t.Errorf("component %+v", c)
		}
	}
	if len(refs) == 0 || !slices.Equal(refs, b.Dependencies[0].DependsOn) {
		t.Errorf("components %q, depends on %q", refs, b.Dependencies)
	}
}

func TestNoProgram(t *testing.T) {
	if err := write(&bytes.Buffer{}, "main.go"); err == nil {
		t.Error("a source file has a bill of materials")
	}
}

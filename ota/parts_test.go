package ota

import "testing"

func TestImageParts(t *testing.T) {
	t.Parallel()
	image := Image{SHA256: "ab", SizeBytes: 1}.
		WithPart("k:1", Image{SHA256: "cd", SizeBytes: 2}).WithPart("k", Image{SHA256: "ef", SizeBytes: 3})
	for name, want := range map[string]Image{"k:1": {SHA256: "cd", SizeBytes: 2}, "k": {SHA256: "ef", SizeBytes: 3}} {
		if got, known := image.Part(name); !known || got != want {
			t.Errorf("part %q: %+v, %t", name, got, known)
		}
	}
	for _, text := range []string{image.Parts, "", "2:cd", "x:cd:dtb", "dtb"} {
		if got, known := (Image{Parts: text}).Part("dtb"); known {
			t.Errorf("of %q: got %+v", text, got)
		}
	}
}

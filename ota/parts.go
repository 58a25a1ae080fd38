package ota

import (
	"fmt"
	"strconv"
	"strings"
)

// WithPart returns i knowing what was written to a part of the slot. Names of
// parts have no blanks.
func (i Image) WithPart(name string, part Image) Image {
	text := fmt.Sprintf("%d:%s:%s", part.SizeBytes, part.SHA256, name)
	i.Parts = strings.Join(append(strings.Fields(i.Parts), text), " ")
	return i
}

// Part returns what was written to the part of this name, if that is known: an
// otad before this one did not remember it.
func (i Image) Part(name string) (Image, bool) {
	for _, text := range strings.Fields(i.Parts) {
		fields := strings.SplitN(text, ":", 3)
		if len(fields) != 3 || fields[2] != name {
			continue
		}
		if size, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			return Image{Version: i.Version, Signer: i.Signer, SizeBytes: size, SHA256: fields[1]}, true
		}
	}
	return Image{}, false
}

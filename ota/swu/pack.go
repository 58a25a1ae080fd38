package swu

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Manifest is what [Pack] makes an artifact of.
type Manifest struct {
	Version     string
	Description string // free text; may be empty
	// Model names the board section; empty: for any model.
	Model string
	// Revisions are the entries of hardware-compatibility, exact or #RE:
	// patterns; none: any revision.
	Revisions []string
	Payloads  []Payload
	NoReboot  bool // the artifact asks for no restart
	JSON      bool // write the description in JSON, not libconfig
}

// Payload is one image, file or script to pack.
type Payload struct {
	Section  string // "images" when empty, "files" or "scripts"
	Type     string // as in [Image]; empty: raw, rawfile or shellscript
	Path     string // of a file, in Device
	Device   string // of a file; empty: the running system
	Filename string // the name of the cpio entry
	Name     string // of the component; may be empty
	Stored   Stored // as [Compress] described Content
	Content  io.Reader
	// Devices maps the copies to their targets, "copy1" and "copy2"; a copy
	// without one goes to the idle slot. SWUpdate needs both.
	Devices map[string]string
	// Delta is of a payload of Type delta, whose Stored.PlainBytes and
	// PlainSHA256 are of the whole image.
	Delta Delta
}

const (
	// packSet and packModes are the sets that are written, one mode for each
	// slot, as SWUpdate's documentation names them.
	packSet     = "stable"
	anyRevision = "#RE:.*"
)

var packModes = []string{"copy1", "copy2"}

// Describe writes the description of a manifest. The same manifest gives the
// same bytes.
func (m Manifest) Describe() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	revisions := m.Revisions
	if len(revisions) == 0 {
		revisions = []string{anyRevision}
	}
	compatible := &node{kind: arrayNode, name: "hardware-compatibility"}
	for _, r := range revisions {
		compatible.children = append(compatible.children, &node{kind: stringNode, text: r})
	}
	set := &node{kind: groupNode, name: packSet}
	for _, mode := range packModes {
		set.children = append(set.children, m.describeMode(mode))
	}
	top := &node{kind: groupNode, name: rootName, children: []*node{textNode("version", m.Version)}}
	if m.Description != "" {
		top.children = append(top.children, textNode("description", m.Description))
	}
	if m.NoReboot {
		top.children = append(top.children, &node{kind: boolNode, name: "reboot"})
	}
	if m.Model == "" {
		top.children = append(top.children, compatible, set)
	} else {
		board := &node{kind: groupNode, name: m.Model, children: []*node{compatible, set}}
		top.children = append(top.children, board)
	}
	var b bytes.Buffer
	root := &node{kind: groupNode, children: []*node{top}}
	if m.JSON {
		renderJSON(&b, root, 0)
		b.WriteByte('\n')
	} else {
		renderMembers(&b, root, 0)
	}
	if _, err := ParseDescription(b.Bytes()); err != nil {
		return nil, fmt.Errorf("cannot describe artifact: it could not be read back: %w", err)
	}
	return b.Bytes(), nil
}

// describeMode makes the group of one copy, with the sections that it has.
func (m Manifest) describeMode(mode string) *node {
	group := &node{kind: groupNode, name: mode}
	for _, name := range []string{SectionImages, SectionFiles, SectionScripts} {
		section := &node{kind: listNode, name: name}
		for _, p := range m.Payloads {
			if p.section() == name {
				section.children = append(section.children, p.describe(mode, m.JSON))
			}
		}
		if len(section.children) > 0 {
			group.children = append(group.children, section)
		}
	}
	return group
}

func (p Payload) section() string { return cmp.Or(p.Section, SectionImages) }

// check refuses what could not be read back.
func (m Manifest) check() error {
	switch {
	case m.Version == "":
		return fmt.Errorf("cannot describe artifact: it has no version")
	case len(m.Payloads) == 0:
		return fmt.Errorf("cannot describe artifact: it has nothing to install")
	case m.Model == packSet || slices.Contains(sectionNames, m.Model):
		return fmt.Errorf("cannot describe artifact: %q cannot be a model", m.Model)
	case m.Model != "" && !m.JSON && !isLibconfigName(m.Model):
		return fmt.Errorf("cannot describe artifact: model %q is no libconfig name (a letter, then letters, digits, - and _); a JSON description can hold it", m.Model)
	}
	names := map[string]bool{DescriptionName: true, SignatureName: true, trailerName: true, "": true}
	for _, p := range m.Payloads {
		if names[p.Filename] {
			return fmt.Errorf("cannot describe artifact: %q cannot be a file name, or is there twice", p.Filename)
		}
		names[p.Filename] = true
		if p.Type == TypeDelta {
			if err := CheckDeltaURL(p.Delta.URL); err != nil {
				return fmt.Errorf("cannot describe artifact: %q: %w", p.Filename, err)
			}
		}
		for mode := range p.Devices {
			if !slices.Contains(packModes, mode) {
				return fmt.Errorf("cannot describe artifact: there is no copy %q, only %s", mode, strings.Join(packModes, " and "))
			}
		}
	}
	return nil
}

// describe makes the element of a section. Every size is a 64-bit number in
// libconfig; JSON leaves out what SWUpdate would cut to 31 bits.
func (p Payload) describe(mode string, asJSON bool) *node {
	n := &node{kind: groupNode}
	add := func(name, text string) {
		if text != "" {
			n.children = append(n.children, textNode(name, text))
		}
	}
	add("filename", p.Filename)
	add("name", p.Name)
	add("type", cmp.Or(p.Type, map[string]string{SectionFiles: TypeRawFile, SectionScripts: TypeShellScript}[p.Section], TypeRaw))
	add("device", cmp.Or(p.Device, p.Devices[mode]))
	add("path", p.Path)
	if p.Stored.SizeBytes < 1<<31 || !asJSON {
		n.children = append(n.children, &node{kind: intNode, name: "size", number: p.Stored.SizeBytes})
	}
	add("sha256", p.Stored.SHA256)
	if p.Section == SectionFiles {
		n.children = append(n.children, &node{kind: groupNode, name: "properties", children: []*node{textNode("create-destination", "true")}})
	}
	if p.Type == TypeDelta {
		n.children = append(n.children, p.Delta.describe(p.otherDevice(mode), p.Stored))
	}
	if p.Stored.Compressed == "" {
		return n
	}
	add("compressed", p.Stored.Compressed)
	n.children = append(n.children, &node{kind: groupNode, name: "properties", children: []*node{
		textNode(propertyPlainBytes, strconv.FormatInt(p.Stored.PlainBytes, 10)),
		textNode(propertyPlainSHA256, p.Stored.PlainSHA256),
	}})
	return n
}

// otherDevice is the target of the copy that is not written: what runs then, and
// what SWUpdate copies chunks from. otad asks its board.
func (p Payload) otherDevice(mode string) string {
	for _, other := range packModes {
		if other != mode {
			return p.Devices[other]
		}
	}
	return ""
}

func textNode(name, text string) *node { return &node{kind: stringNode, name: name, text: text} }

// Pack writes a signed artifact: description, signature, then the payloads in
// the order given, each read once. The same input gives the same bytes as far
// as [Signer.Sign] does.
func Pack(w io.Writer, m Manifest, s Signer) error {
	description, err := m.Describe()
	if err != nil {
		return err
	}
	signature, err := s.Sign(description)
	if err != nil {
		return err
	}
	return Assemble(w, description, signature, m.Payloads)
}

// Assemble writes an artifact of its parts. Without a signature it is one that
// still has to be signed: no box takes it.
func Assemble(w io.Writer, description, signature []byte, payloads []Payload) error {
	out := &archiveWriter{w: w}
	if err := out.addHead(description, signature); err != nil {
		return err
	}
	for _, p := range payloads {
		e := Entry{Name: p.Filename, SizeBytes: p.Stored.SizeBytes, Checksum: p.Stored.Checksum, HasChecksum: true}
		if err := out.add(e, p.Content); err != nil {
			return err
		}
	}
	return out.finish()
}

// Resign writes the artifact a again with another signature over the same
// description. Payloads are copied, their check sums verified.
func Resign(w io.Writer, a *Archive, s Signer) error {
	signature, err := s.Sign(a.description)
	if err != nil {
		return err
	}
	return Attach(w, a, signature)
}

// Attach is [Resign] with a signature that was made elsewhere. It does not
// verify it.
func Attach(w io.Writer, a *Archive, signature []byte) error {
	if _, err := ParseDescription(a.description); err != nil {
		return err
	}
	out := &archiveWriter{w: w}
	if err := out.addHead(a.description, signature); err != nil {
		return err
	}
	for _, e := range a.entries {
		if e.Name == DescriptionName || e.Name == SignatureName {
			continue
		}
		if err := out.add(e, a.Payload(e)); err != nil {
			return err
		}
	}
	return out.finish()
}

// addHead writes the description and, unless it is nil, the signature.
func (w *archiveWriter) addHead(description, signature []byte) error {
	if len(description) > MaxDescriptionBytes || len(signature) > MaxSignatureBytes {
		return fmt.Errorf("cannot pack: the description has %d bytes, the signature %d, more than %d or %d",
			len(description), len(signature), MaxDescriptionBytes, MaxSignatureBytes)
	}
	for _, part := range []struct {
		name  string
		bytes []byte
	}{{DescriptionName, description}, {SignatureName, signature}} {
		if part.bytes == nil {
			continue
		}
		e := Entry{Name: part.name, SizeBytes: int64(len(part.bytes)), Checksum: byteSum(part.bytes), HasChecksum: true}
		if err := w.add(e, bytes.NewReader(part.bytes)); err != nil {
			return err
		}
	}
	return nil
}

package swu

import (
	"bytes"
	"slices"
)

// Fill completes a description that was written by hand or by a build: every
// element with a filename gets the size and the sha256 of that payload, in
// place of what is there. look is asked once for each name. It returns the new
// text, in the same language and without comments, and the payloads as the
// archive has to hold them: in the order of the text, but scripts first, so that
// who reads the archive once, from front to back, can run them in time.
func Fill(description []byte, look func(filename string) (Payload, error)) ([]byte, []Payload, error) {
	d, err := ParseDescription(description)
	if err != nil {
		return nil, nil, err
	}
	f := filler{look: look, asJSON: d.json, scripts: map[string]bool{}}
	if err := f.fill(d.root); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	if d.json {
		renderJSON(&b, d.root, 0)
		b.WriteByte('\n')
	} else {
		renderMembers(&b, d.root, 0)
	}
	rank := func(p Payload) int {
		if f.scripts[p.Filename] {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(f.payloads, func(a, b Payload) int { return rank(a) - rank(b) })
	return b.Bytes(), f.payloads, nil
}

type filler struct {
	look     func(filename string) (Payload, error)
	asJSON   bool
	payloads []Payload
	scripts  map[string]bool // names of those that are used as scripts
}

func (f *filler) fill(n *node) error {
	if name := n.child("filename"); name != nil && name.kind == stringNode {
		return f.fillElement(n, name.text)
	}
	for _, c := range n.children {
		if name := c.child("filename"); name != nil && n.name == SectionScripts {
			f.scripts[name.text] = true
		}
		if err := f.fill(c); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) fillElement(n *node, filename string) error {
	at := slices.IndexFunc(f.payloads, func(p Payload) bool { return p.Filename == filename })
	if at < 0 {
		p, err := f.look(filename)
		if err != nil {
			return err
		}
		p.Filename = filename
		at = len(f.payloads)
		f.payloads = append(f.payloads, p)
	}
	stored := f.payloads[at].Stored
	n.set(textNode("sha256", stored.SHA256))
	if stored.SizeBytes < 1<<31 || !f.asJSON {
		n.set(&node{kind: intNode, name: "size", number: stored.SizeBytes})
	}
	return nil
}

// set replaces the child of that name, or adds it.
func (n *node) set(c *node) {
	at := slices.IndexFunc(n.children, func(o *node) bool { return o.name == c.name })
	if at < 0 {
		n.children = append(n.children, c)
		return
	}
	n.children[at] = c
}

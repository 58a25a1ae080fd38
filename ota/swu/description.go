package swu

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// rootName is the group in which everything stands.
	rootName = "software"
	// maxLinks bounds a chain of ref links, as SWUpdate's MAX_LINKS_DEPTH.
	maxLinks = 10
	// maxElements bounds what a section's links may multiply to.
	maxElements = 256
)

// sectionNames are the lists of things to install, in the order in which
// [Description.Contents] shows them. "uboot" is the old name of "bootenv".
var sectionNames = []string{"images", "files", "scripts", "partitions", "bootenv", "uboot", "vars"}

// Description is a parsed sw-description. What of it is for a given box is
// said by [Description.Select].
type Description struct {
	root *node // holds the group "software"
	json bool  // written in JSON: a section of one element may be an object
}

// ParseDescription reads a description in libconfig or JSON. SWUpdate tries its
// parsers in turn; the content decides just as well, because JSON begins with a
// brace and libconfig cannot. Errors are Damaged, with the line.
func ParseDescription(b []byte) (*Description, error) {
	if len(b) > MaxDescriptionBytes {
		return nil, archiveError(Damaged, DescriptionName, "%d bytes are more than the limit of %d", len(b), MaxDescriptionBytes)
	}
	d := &Description{json: bytes.HasPrefix(bytes.TrimLeft(blankComments(b), " \t\r\n"), []byte("{"))}
	parse := parseLibconfig
	if d.json {
		parse = parseJSON
	}
	root, err := parse(b)
	if err != nil {
		return nil, err
	}
	d.root = root
	if top := root.child(rootName); top == nil || top.kind != groupNode {
		return nil, lineError(Damaged, 1, "there is no group %q", rootName)
	}
	return d, nil
}

// Item is one element of a section, as [Description.Contents] lists it.
type Item struct {
	Path   string            // "stv1.stable.copy1", empty for the top
	Kind   string            // "images", "files", "scripts", …
	Line   int               // where it begins
	Fields map[string]string // its plain values as text, by name
}

// Contents lists every element of every section for every box, as written and
// in the order of the text, links not followed. It is for showing to people.
func (d *Description) Contents() []Item {
	var items []Item
	walkSections(d.root.child(rootName), nil, func(path []string, section *node) {
		for _, e := range d.elementsOf(section) {
			items = append(items, Item{
				Path: strings.Join(path, "."), Kind: section.name, Line: e.line, Fields: plainFields(e),
			})
		}
	})
	return items
}

// Header returns the plain values at the top of the description: version,
// description, reboot and the like.
func (d *Description) Header() map[string]string { return plainFields(d.root.child(rootName)) }

func walkSections(n *node, path []string, visit func(path []string, section *node)) {
	for _, c := range n.children {
		switch {
		case slices.Contains(sectionNames, c.name):
			visit(path, c)
		case c.kind == groupNode:
			walkSections(c, append(slices.Clip(path), c.name), visit)
		}
	}
}

func plainFields(n *node) map[string]string {
	fields := map[string]string{}
	for _, c := range n.children {
		if text, ok := c.plain(); ok {
			fields[c.name] = text
		}
		if c.name == "properties" {
			for _, p := range c.children {
				if text, ok := p.plain(); ok {
					fields["properties."+p.name] = text
				}
			}
		}
	}
	return fields
}

// elementsOf lists a section's elements. In JSON a section of one element may
// be the element itself.
func (d *Description) elementsOf(section *node) []*node {
	if d.json && section.kind == groupNode {
		return []*node{section}
	}
	if section.isList() {
		return section.children
	}
	return nil
}

// lookup finds a field for a box. The order is SWUpdate's find_node_and_path:
// board.set.mode, set.mode, board, top; the first that has the field wins. At
// each place, first the place itself and then the field may be a link.
// It returns the field, nil if nobody has it, and the path at which it stands.
func (d *Description) lookup(s Selection, field string) (*node, []string, error) {
	for _, place := range s.places() {
		at, path, err := d.resolve(place)
		if err != nil {
			return nil, nil, err
		}
		if at == nil {
			continue
		}
		n, path, err := d.resolve(append(slices.Clip(path), field))
		if err != nil || n != nil {
			return n, path, err
		}
	}
	return nil, nil, nil
}

// resolve finds the node at path and follows the links that it may be. A path
// that does not exist gives nil; a link that leads nowhere is an error.
func (d *Description) resolve(path []string) (*node, []string, error) {
	n := d.root.find(path)
	for hop := 0; n != nil; hop++ {
		ref := n.child("ref")
		if ref == nil {
			return n, path, nil
		}
		if hop == maxLinks {
			return nil, nil, lineError(Unsupported, ref.line, "more than %d links in a row, or a circle", maxLinks)
		}
		var err error
		if path, err = follow(path, ref); err != nil {
			return nil, nil, err
		}
		if n = d.root.find(path); n == nil {
			return nil, nil, lineError(Damaged, ref.line, "the link %q leads to %q, which is not there", ref.text, strings.Join(path, "."))
		}
	}
	return nil, path, nil
}

// follow computes where a link leads that stands in the node at path
// (sw-description.rst, "Links"): "#./name" is a sibling of that node, each
// ".." goes one level up, and a link that begins with a name starts at the
// root of the tree.
func follow(path []string, ref *node) ([]string, error) {
	if ref.kind != stringNode || !strings.HasPrefix(ref.text, "#") {
		return nil, lineError(Unsupported, ref.line, "a link must be a string that begins with #")
	}
	to := slices.Clone(path[:len(path)-1])
	named := false
	for i, step := range strings.FieldsFunc(ref.text[1:], func(r rune) bool { return r == '/' }) {
		switch step {
		case ".":
		case "..":
			if len(to) == 0 {
				return nil, lineError(Unsupported, ref.line, "the link %q leaves the description", ref.text)
			}
			to, named = to[:len(to)-1], false
		default:
			if i == 0 {
				to = nil
			}
			to, named = append(to, step), true
		}
	}
	if !named || len(to) > maxDepth {
		return nil, lineError(Unsupported, ref.line, "the link %q names nothing", ref.text)
	}
	return to, nil
}

// elements lists the elements of the section at path, with those that are
// links replaced by the elements of the section that they lead to.
func (d *Description) elements(section *node, path []string) ([]*node, error) {
	if !section.isList() && !(d.json && section.kind == groupNode) {
		return nil, lineError(Unsupported, section.line, "%s must be a list, not a %s", section.name, section.kind)
	}
	w := linkWalk{d: d, steps: 4 * maxElements}
	err := w.collect(section, path, 0)
	return w.found, err
}

// linkWalk collects elements across links; steps bounds the work that links
// which fan out can ask for.
type linkWalk struct {
	d     *Description
	found []*node
	steps int
}

func (w *linkWalk) collect(section *node, path []string, depth int) error {
	for _, e := range w.d.elementsOf(section) {
		if w.steps--; w.steps < 0 || len(w.found) == maxElements || depth > maxLinks {
			return lineError(Unsupported, e.line, "more than %d elements or %d links in a row, or a circle", maxElements, maxLinks)
		}
		if e.kind != groupNode {
			return lineError(Unsupported, e.line, "an element of %s must be a group, not a %s", section.name, e.kind)
		}
		ref := e.child("ref")
		if ref == nil {
			w.found = append(w.found, e)
			continue
		}
		to, err := follow(path, ref)
		if err != nil {
			return err
		}
		linked, to, err := w.d.resolve(to)
		if err != nil {
			return err
		}
		if linked == nil || len(w.d.elementsOf(linked)) == 0 {
			return lineError(Damaged, ref.line, "the link %q leads to no list of elements", ref.text)
		}
		if err := w.collect(linked, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

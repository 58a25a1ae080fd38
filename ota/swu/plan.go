package swu

import (
	"regexp"
	"slices"
	"strings"
)

// Selection says for which box and which copy an artifact is read. Set and
// Mode are SWUpdate's `-e set,mode`; the mode is the copy that will be written.
type Selection struct {
	Board    string // the model: "stv1"
	Revision string // of the hardware: "1.0"; may be empty
	Set      string // "stable"
	Mode     string // "copy2"
}

// places lists where a field is looked for, most special first.
func (s Selection) places() [][]string {
	var places [][]string
	if s.Set != "" && s.Mode != "" {
		if s.Board != "" {
			places = append(places, []string{rootName, s.Board, s.Set, s.Mode})
		}
		places = append(places, []string{rootName, s.Set, s.Mode})
	}
	if s.Board != "" {
		places = append(places, []string{rootName, s.Board})
	}
	return append(places, []string{rootName})
}

// Plan is what one box has to do to install an artifact.
type Plan struct {
	Version     string // the artifact's version; see [CompareVersions]
	Description string // free text; may be empty
	UpdateType  string // SWUpdate's update-type; may be empty
	// Images, Files and Scripts are in the order of the description. An image
	// that has a Path is written like a file.
	Images, Files, Scripts []Image
	BootEnv                []Variable // to be set for the bootloader, with the slot
	Vars                   []Variable // to be kept in SWUpdate's variables
	Reboot                 bool       // whether the artifact wants a reboot; true unless it says no
}

// Variable is one element of bootenv or vars.
type Variable struct {
	Name, Value string // an empty value unsets it
	Line        int    // in the description
}

// Payloads lists every element that has a payload: images, files, scripts.
func (p *Plan) Payloads() []Image {
	return slices.Concat(p.Images, p.Files, p.Scripts)
}

// Select finds what is for the given box and copy. It refuses, with Kind
// WrongHardware, an artifact that does not allow this model and revision, and,
// with Kind Unsupported and the line, everything that is not done.
func (d *Description) Select(s Selection) (*Plan, error) {
	if err := d.checkHardware(s); err != nil {
		return nil, err
	}
	if err := d.refuseUnsupported(s); err != nil {
		return nil, err
	}
	p := &Plan{Reboot: true}
	if err := d.readCommon(s, p); err != nil {
		return nil, err
	}
	for _, section := range []struct {
		name string
		to   *[]Image
	}{{SectionImages, &p.Images}, {SectionFiles, &p.Files}, {SectionScripts, &p.Scripts}} {
		elements, err := d.section(s, section.name)
		if err != nil {
			return nil, err
		}
		for _, e := range elements {
			image, err := parseImage(section.name, e)
			if err != nil {
				return nil, err
			}
			*section.to = append(*section.to, image)
		}
	}
	var err error
	if p.BootEnv, err = d.variables(s, "uboot", "bootenv"); err != nil {
		return nil, err
	}
	if p.Vars, err = d.variables(s, "vars"); err != nil {
		return nil, err
	}
	if len(p.Payloads())+len(p.BootEnv)+len(p.Vars) == 0 {
		return nil, d.nothingFor(s)
	}
	return p, nil
}

// section lists the elements of a section, links followed; none if it is not
// there.
func (d *Description) section(s Selection, name string) ([]*node, error) {
	n, path, err := d.lookup(s, name)
	if err != nil || n == nil {
		return nil, err
	}
	return d.elements(n, path)
}

// variables reads the first section of those names that is there.
func (d *Description) variables(s Selection, names ...string) ([]Variable, error) {
	for _, name := range names {
		elements, err := d.section(s, name)
		if err != nil {
			return nil, err
		}
		var found []Variable
		for _, e := range elements {
			v := Variable{Line: e.line}
			if v.Name, err = e.stringOf("name"); err != nil {
				return nil, err
			}
			if v.Value, err = e.stringOf("value"); err != nil {
				return nil, err
			}
			if v.Name == "" || strings.ContainsAny(v.Name, "=\x00\n") || strings.ContainsAny(v.Value, "\x00\n") {
				return nil, lineError(Unsupported, e.line, "an element of %s needs a name without =, and neither name nor value may break the line", name)
			}
			found = append(found, v)
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, nil
}

// readCommon reads the fields that stand beside the sections.
func (d *Description) readCommon(s Selection, p *Plan) error {
	for _, field := range []struct {
		name string
		to   *string
	}{
		{"version", &p.Version}, {"description", &p.Description}, {"update-type", &p.UpdateType},
	} {
		n, _, err := d.lookup(s, field.name)
		if err != nil {
			return err
		}
		if n == nil {
			continue
		}
		if n.kind != stringNode {
			return n.wrongKind(stringNode)
		}
		*field.to = n.text
	}
	if p.Version == "" {
		return lineError(Damaged, d.root.child(rootName).line, "there is no version")
	}
	reboot, path, err := d.lookup(s, "reboot")
	if err != nil || reboot == nil {
		return err
	}
	p.Reboot, err = d.root.find(path[:len(path)-1]).boolOf("reboot", true)
	return err
}

// refuseUnsupported refuses sections and fields that SWUpdate would act on.
func (d *Description) refuseUnsupported(s Selection) error {
	for _, name := range []string{"embedded-script", "partitions"} {
		n, _, err := d.lookup(s, name)
		if err != nil {
			return err
		}
		if n != nil && (n.kind != listNode || len(n.children) > 0) {
			return lineError(Unsupported, n.line, "%q is not supported", name)
		}
	}
	return nil
}

// checkHardware holds the box against hardware-compatibility, which must be
// there: an artifact that names no hardware is for none.
func (d *Description) checkHardware(s Selection) error {
	list, _, err := d.lookup(s, "hardware-compatibility")
	if err != nil {
		return err
	}
	if list == nil {
		if boards := d.boards(); len(boards) > 0 {
			return archiveError(WrongHardware, "", "it is for model %s, this box is %q", quoteAll(boards), s.Board)
		}
		return archiveError(WrongHardware, "", "it does not say for which hardware it is (no hardware-compatibility)")
	}
	if !list.isList() {
		return lineError(Unsupported, list.line, "hardware-compatibility must be a list of strings")
	}
	var allowed []string
	for _, c := range list.children {
		if c.kind != stringNode {
			return lineError(Unsupported, c.line, "hardware-compatibility must be a list of strings, not of %s", c.kind)
		}
		match, err := matchRevision(c, s.Revision)
		if err != nil || match {
			return err
		}
		allowed = append(allowed, c.text)
	}
	return lineError(WrongHardware, list.line, "it is for revision %s, this box is revision %q of model %q",
		quoteAll(allowed), s.Revision, s.Board)
}

// matchRevision compares a revision with one entry of hardware-compatibility:
// the exact string, or behind #RE: a POSIX extended regular expression that
// matches anywhere in it, as in SWUpdate.
func matchRevision(entry *node, revision string) (bool, error) {
	pattern, isPattern := strings.CutPrefix(entry.text, "#RE:")
	if !isPattern {
		return entry.text == revision, nil
	}
	re, err := regexp.CompilePOSIX(pattern)
	if err != nil {
		return false, lineError(Unsupported, entry.line, "hardware-compatibility: %w", err)
	}
	return re.MatchString(revision), nil
}

// boards lists the groups at the top that can only be board sections: they
// hold hardware-compatibility or a section themselves, or sets of modes that
// do. A group whose children hold sections is a set.
func (d *Description) boards() []string {
	var names []string
	for _, c := range d.root.child(rootName).children {
		if c.kind == groupNode && !slices.Contains(sectionNames, c.name) && isBoard(c) {
			names = append(names, c.name)
		}
	}
	return names
}

func isBoard(n *node) bool {
	found := n.child("hardware-compatibility") != nil
	walkSections(n, nil, func(path []string, _ *node) {
		found = found || len(path) == 0 || len(path) == 2
	})
	return found
}

// nothingFor says what the artifact has instead of what this box looked for.
func (d *Description) nothingFor(s Selection) error {
	var places []string
	walkSections(d.root.child(rootName), nil, func(path []string, _ *node) {
		places = append(places, strings.Join(path, "."))
	})
	if boards := d.boards(); len(boards) > 0 && !slices.Contains(boards, s.Board) {
		return archiveError(WrongHardware, "", "it is for model %s, this box is %q", quoteAll(boards), s.Board)
	}
	if len(places) == 0 {
		return archiveError(Unsupported, DescriptionName, "there is nothing to install")
	}
	return archiveError(Unsupported, DescriptionName, "there is nothing to install for set %q, mode %q of model %q; there is something at %s",
		s.Set, s.Mode, s.Board, quoteAll(slices.Compact(places)))
}

func quoteAll(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return `"` + strings.Join(names, `", "`) + `"`
}

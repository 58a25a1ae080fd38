package swu

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strings"
)

// Sections of a description whose elements have a payload.
const (
	SectionImages  = "images"
	SectionFiles   = "files"
	SectionScripts = "scripts"
)

// Types of elements: what is done with the payload.
const (
	TypeRaw         = "raw"         // an image: written to a device
	TypeRawFile     = "rawfile"     // a file or an image: written to Path
	TypeDelta       = "delta"       // an image: the payload is the header of a zchunk file, see [Delta]
	TypeArchive     = "archive"     // a file or an image: a tar archive, unpacked below Path
	TypeShellScript = "shellscript" // a script: run before and after the images
	TypePreinstall  = "preinstall"  // a script: run before the images
	TypePostinstall = "postinstall" // a script: run after the images
)

// typesOf lists what each section may hold; the first is the default, but for
// scripts, whose default in SWUpdate is Lua.
var typesOf = map[string][]string{
	SectionImages:  {TypeRaw, TypeRawFile, TypeArchive, TypeDelta},
	SectionFiles:   {TypeRawFile, TypeArchive},
	SectionScripts: {TypeShellScript, TypePreinstall, TypePostinstall},
}

// Image is one element of images, files or scripts: a payload and where it goes.
type Image struct {
	Section    string // "images", "files" or "scripts"
	Filename   string // the cpio entry
	Device     string // the target as written; empty: the idle slot, or for a Path the running system
	Path       string // of a rawfile or an archive, in the target
	Filesystem string // of the device that Path is in; may be empty
	Type       string // "raw", "rawfile", …
	Data       string // what scripts get as arguments; may be empty
	Compressed string // a kind that [Decompress] takes; empty: none
	Encrypted  string // "aes-cbc", "aes-ctr-256", …; empty: not
	SHA256     string // of the stored bytes: 64 lower-case hexadecimal digits
	SizeBytes  int64  // of the stored bytes; -1 when the description does not say
	// OffsetBytes is where in the target the image begins.
	OffsetBytes int64
	// DecompressedBytes and DecompressedSHA256 are of the bytes to be written:
	// from the properties decompressed-size (decrypted-size where nothing is
	// compressed) and decompressed-sha256, or those of the stored bytes when
	// these are written as they are; -1 and empty when unknown. Of a delta they
	// are of the whole image.
	DecompressedBytes  int64
	DecompressedSHA256 string
	Line               int // in the description

	Name, Version string // of the component; may be empty
	// InstallIfDifferent and InstallIfHigher ask to skip the image when the
	// installed component Name has this Version, or this or a newer one.
	InstallIfDifferent, InstallIfHigher bool
	Properties                          map[string]string // may be empty
	Delta                               Delta             // of an image of type delta

	ivt []byte // the initial vector; nil: the key file's
}

// unsupportedFields are fields of an element that SWUpdate would act on.
// Fields that SWUpdate does not know it ignores, and so do we.
var unsupportedFields = []string{"volume", "mtdname", "hook", "preinstall", "postinstall"}

// parseImage reads an element of a section. SWUpdate passes over elements
// without a filename; to us that is a mistake of the producer.
func parseImage(section string, n *node) (Image, error) {
	image := Image{Section: section, Line: n.line, DecompressedBytes: -1, Properties: map[string]string{}}
	for _, name := range unsupportedFields {
		if c := n.child(name); c != nil {
			return image, lineError(Unsupported, c.line, "%q is not supported", name)
		}
	}
	steps := []func(*node) error{image.readTexts, image.readEncrypted, image.readType, image.readNumbers, image.readProperties, image.readHash, image.readDelta}
	for _, step := range steps {
		if err := step(n); err != nil {
			return image, err
		}
	}
	if image.Type != TypeDelta && image.Compressed == "" && image.Encrypted == "" {
		image.DecompressedBytes, image.DecompressedSHA256 = image.SizeBytes, image.SHA256
	}
	return image, nil
}

func (i *Image) readTexts(n *node) (err error) {
	for _, field := range []struct {
		name string
		to   *string
	}{
		{"filename", &i.Filename}, {"device", &i.Device}, {"path", &i.Path}, {"filesystem", &i.Filesystem},
		{"type", &i.Type}, {"data", &i.Data}, {"name", &i.Name}, {"version", &i.Version}, {"sha256", &i.SHA256},
	} {
		if *field.to, err = n.stringOf(field.name); err != nil {
			return err
		}
	}
	if i.Filename == "" {
		return lineError(Unsupported, n.line, "an element of %s has no filename", i.Section)
	}
	i.Compressed, err = readCompressed(n)
	return err
}

func (i *Image) readType(n *node) error {
	known := typesOf[i.Section]
	line, name := n.line, i.Type
	if c := n.child("type"); c != nil {
		line = c.line
	}
	if i.Type == "" && i.Section == SectionScripts {
		name = "lua"
	} else if i.Type == "" {
		i.Type, name = known[0], known[0]
	}
	if !slices.Contains(known, name) {
		return lineError(Unsupported, line, "type %q is not supported in %s, only %s", name, i.Section, quoteAll(known))
	}
	switch {
	case (i.Type == TypeRawFile || i.Type == TypeArchive) && i.Path == "":
		return lineError(Unsupported, n.line, "a %s needs a path", i.Type)
	case i.Section == SectionScripts && (i.Compressed != "" || i.Encrypted != ""):
		return lineError(Unsupported, n.line, "scripts that are compressed or encrypted are not supported")
	}
	return nil
}

// readCompressed reads the kind of compression; true is the old way to say zlib.
func readCompressed(n *node) (string, error) {
	c := n.child("compressed")
	switch {
	case c == nil || c.kind == boolNode && !c.truth:
		return "", nil
	case c.kind == boolNode:
		return KindZlib, nil
	case c.kind == stringNode && slices.Contains(readKinds, c.text):
		return c.text, nil
	}
	text, _ := c.plain()
	return "", lineError(Unsupported, c.line, "%w", unknownKind(text).Err)
}

func (i *Image) readNumbers(n *node) (err error) {
	if i.SizeBytes, err = n.sizeOf("size"); err != nil {
		return err
	}
	if i.OffsetBytes, err = n.sizeOf("offset"); err != nil {
		return err
	}
	i.OffsetBytes = max(i.OffsetBytes, 0)
	if i.InstallIfDifferent, err = n.boolOf("install-if-different", false); err != nil {
		return err
	}
	i.InstallIfHigher, err = n.boolOf("install-if-higher", false)
	return err
}

// readProperties keeps the plain values; SWUpdate drops the others too.
func (i *Image) readProperties(n *node) (err error) {
	properties := n.child("properties")
	if properties == nil || properties.kind != groupNode {
		return nil
	}
	for _, c := range properties.children {
		if text, ok := c.plain(); ok {
			i.Properties[c.name] = text
		}
	}
	size := propertyPlainBytes
	if i.Compressed == "" && i.Encrypted != "" {
		size = "decrypted-size"
	}
	if i.DecompressedBytes, err = properties.sizeOf(size); err != nil {
		return err
	}
	if c := properties.child(propertyPlainSHA256); c != nil {
		if i.DecompressedSHA256, err = parseHash(c); err != nil {
			return err
		}
	}
	return nil
}

// readHash demands the hash: without it the signature would say nothing about
// the payload.
func (i *Image) readHash(n *node) (err error) {
	c := n.child("sha256")
	if c == nil {
		return lineError(BadSignature, n.line, "image %q has no sha256, so the signature does not cover it", i.Filename)
	}
	i.SHA256, err = parseHash(c)
	return err
}

func parseHash(c *node) (string, error) {
	text := strings.ToLower(c.text)
	if b, err := hex.DecodeString(text); err != nil || len(b) != 32 {
		return "", lineError(Damaged, c.line, "%s is not 64 hexadecimal digits", c.name)
	}
	return text, nil
}

// Plain turns the stored bytes of the image into those to be written: decrypted
// with the key, which may be nil for an image that is not encrypted, and
// decompressed. If the description gives their size, a longer or shorter output
// is an error, so that a small payload cannot fill the box; otherwise the
// caller bounds it.
//
// Who writes must compare what he wrote with DecompressedSHA256: the file may
// have changed since [Plan.Verify] read it. Where that hash is not known, the
// reader itself holds the stored bytes against SHA256 and fails, with BadHash,
// in place of io.EOF.
func (i Image) Plain(stored io.Reader, key *Key) (io.ReadCloser, error) {
	var check *hashReader
	if i.DecompressedSHA256 == "" {
		check = &hashReader{r: stored, hash: sha256.New(), image: i}
		stored = check
	}
	stored, err := i.decrypt(stored, key)
	if err != nil {
		return nil, err
	}
	r, err := Decompress(i.Compressed, stored)
	if err != nil {
		return nil, err
	}
	if check != nil {
		r = &checkedReader{ReadCloser: r, check: check}
	}
	if i.DecompressedBytes < 0 {
		return r, nil
	}
	return &exactReader{ReadCloser: r, entry: i.Filename, want: i.DecompressedBytes, left: i.DecompressedBytes}, nil
}

// Decompress is [Image.Plain] without a key.
func (i Image) Decompress(stored io.Reader) (io.ReadCloser, error) { return i.Plain(stored, nil) }

// hashReader hashes the stored bytes on their way to the decompressor.
type hashReader struct {
	r     io.Reader
	hash  hash.Hash
	image Image
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	return n, err
}

// finish reads what the decompressor left and compares.
func (h *hashReader) finish() error {
	if _, err := io.Copy(io.Discard, h); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.hash.Sum(nil)); got != h.image.SHA256 {
		return archiveError(BadHash, h.image.Filename, "its sha256 is %s, the signed description says %s", got, h.image.SHA256)
	}
	return nil
}

// checkedReader ends only if the stored bytes were the right ones.
type checkedReader struct {
	io.ReadCloser
	check *hashReader
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err == io.EOF {
		if wrong := c.check.finish(); wrong != nil {
			err = wrong
		}
	}
	return n, err
}

// exactReader fails unless exactly want bytes come.
type exactReader struct {
	io.ReadCloser
	entry      string
	want, left int64
}

func (x *exactReader) Read(p []byte) (int, error) {
	if int64(len(p)) > x.left+1 {
		p = p[:x.left+1]
	}
	n, err := x.ReadCloser.Read(p)
	if int64(n) > x.left {
		return int(x.left), archiveError(Damaged, x.entry, "it decompresses to more than the %d bytes that the description gives", x.want)
	}
	if x.left -= int64(n); err == io.EOF && x.left > 0 {
		err = archiveError(Damaged, x.entry, "it decompresses to %d bytes, the description gives %d", x.want-x.left, x.want)
	}
	return n, err
}

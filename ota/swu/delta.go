package swu

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
)

// MaxDeltaHeaderBytes bounds the header of a delta, which a box holds in memory:
// that of an image of 1.7 GB in chunks of 8 KiB.
const MaxDeltaHeaderBytes = 8 << 20

// Delta is what an image of type delta says beside the header of its zchunk
// file, which is its payload: in the words of SWUpdate's delta handler, and for
// the cuts in our own, which that handler does not know.
type Delta struct {
	// URL is where the whole file is: http or https, or relative to the
	// artifact's own.
	URL string
	// MaxRanges is how many ranges a request may ask for; 0 when it is not said.
	MaxRanges int
	// ChunkMin, ChunkAverage and ChunkMax are how the image was cut, in bytes: 0
	// when it is not said, which means as the tool zck cuts.
	ChunkMin, ChunkAverage, ChunkMax int
}

// Properties of a delta.
const (
	propertyURL          = "url"
	propertyChain        = "chain"
	propertySource       = "source"
	propertyMaxRanges    = "max-ranges"
	propertyChunkMin     = "chunk-min"
	propertyChunkAverage = "chunk-average"
	propertyChunkMax     = "chunk-max"
	propertyPlainBytes   = "decompressed-size"
	propertyPlainSHA256  = "decompressed-sha256"
)

// deltaProperties are all that may stand there. The last row is for SWUpdate
// alone: what it copies from, of which the board knows better, and its logs.
var deltaProperties = []string{
	propertyURL, propertyChain, propertyMaxRanges, propertyPlainBytes, propertyPlainSHA256,
	propertyChunkMin, propertyChunkAverage, propertyChunkMax,
	propertySource, "source-size", "zckloglevel", "debug-chunks",
}

// readDelta reads what is special about a delta, and refuses what cannot be
// done with one.
func (i *Image) readDelta(n *node) error {
	if i.Type != TypeDelta {
		return nil
	}
	direct, err := n.boolOf("installed-directly", false)
	if err != nil {
		return err
	}
	properties := n.child("properties")
	switch {
	case i.Compressed != "" || i.Encrypted != "":
		return lineError(Unsupported, n.line, "a delta whose header is compressed or encrypted is not supported")
	case i.OffsetBytes != 0:
		return lineError(Unsupported, n.line, "an offset of a delta is not supported")
	case direct:
		return lineError(Unsupported, n.line, "a delta with installed-directly is not supported, nor is it by SWUpdate")
	case properties == nil || properties.kind != groupNode:
		return lineError(Unsupported, n.line, "a delta needs properties with the url of its file")
	}
	for _, c := range properties.children {
		if !slices.Contains(deltaProperties, c.name) {
			return lineError(Unsupported, c.line, "property %q of a delta is not supported", c.name)
		}
	}
	if chain := i.Properties[propertyChain]; chain != TypeRaw {
		return lineError(Unsupported, properties.line, "a delta with chain %q is not supported, only %q", chain, TypeRaw)
	}
	i.Delta.URL = i.Properties[propertyURL]
	if err := CheckDeltaURL(i.Delta.URL); err != nil {
		return lineError(Unsupported, properties.line, "%w", err)
	}
	return i.readDeltaNumbers(properties)
}

func (i *Image) readDeltaNumbers(properties *node) error {
	d := &i.Delta
	numbers := []struct {
		name string
		to   *int
	}{
		{propertyMaxRanges, &d.MaxRanges},
		{propertyChunkMin, &d.ChunkMin}, {propertyChunkAverage, &d.ChunkAverage}, {propertyChunkMax, &d.ChunkMax},
	}
	for _, number := range numbers {
		v, err := properties.sizeOf(number.name)
		if err != nil {
			return err
		}
		if v == 0 || v > 1<<30 {
			return lineError(Unsupported, properties.child(number.name).line, "%s of %d is not supported", number.name, v)
		}
		*number.to = int(max(v, 0))
	}
	if said := min(d.ChunkMin, d.ChunkAverage, d.ChunkMax); said == 0 && max(d.ChunkMin, d.ChunkAverage, d.ChunkMax) > 0 {
		return lineError(Unsupported, properties.line, "%s, %s and %s belong together", propertyChunkMin, propertyChunkAverage, propertyChunkMax)
	}
	return nil
}

var errDeltaURL = errors.New("a delta needs the url of its file, http, https or relative to the artifact, without a login in it")

// CheckDeltaURL refuses what cannot be the URL of a delta's file. A login in it
// would be read by everybody who has the artifact.
func CheckDeltaURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Opaque != "" {
		return errDeltaURL
	}
	relative := u.Scheme == "" && u.Host == "" && u.Path != ""
	absolute := (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if !relative && !absolute {
		return errDeltaURL
	}
	return nil
}

// describe gives the properties of a delta, in their order. Without a source
// SWUpdate does not take it.
func (d Delta) describe(source string, stored Stored) *node {
	group := &node{kind: groupNode, name: "properties"}
	add := func(name, text string) {
		if text != "" && text != "0" {
			group.children = append(group.children, textNode(name, text))
		}
	}
	add(propertyURL, d.URL)
	add(propertyChain, TypeRaw)
	add(propertySource, source)
	add("zckloglevel", "error")
	add(propertyMaxRanges, strconv.Itoa(d.MaxRanges))
	add(propertyChunkMin, strconv.Itoa(d.ChunkMin))
	add(propertyChunkAverage, strconv.Itoa(d.ChunkAverage))
	add(propertyChunkMax, strconv.Itoa(d.ChunkMax))
	add(propertyPlainBytes, strconv.FormatInt(stored.PlainBytes, 10))
	add(propertyPlainSHA256, stored.PlainSHA256)
	return group
}

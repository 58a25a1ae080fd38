package swutest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"

	"otad/ota/swu"
	"otad/ota/zck"
)

// Delta is a packed delta: a signed artifact, and the file of chunks that lies
// at its URL.
type Delta struct{ Artifact, Chunks []byte }

// PackDelta makes one of an image, after a manifest without payloads. Its chunks
// are those of otactl, stored as they are.
func (a Authority) PackDelta(m swu.Manifest, url string, image []byte) (Delta, error) {
	cuts := zck.DefaultParams
	var body bytes.Buffer
	header, err := zck.Pack(&body, bytes.NewReader(image), zck.Options{Params: cuts, Digest: zck.SHA256})
	if err != nil {
		return Delta{}, err
	}
	about, err := swu.Compress(io.Discard, bytes.NewReader(header), swu.KindNone)
	if err != nil {
		return Delta{}, err
	}
	whole := sha256.Sum256(image)
	about.PlainBytes, about.PlainSHA256 = int64(len(image)), hex.EncodeToString(whole[:])
	m.Payloads = []swu.Payload{{
		Filename: "rootfs.zckheader", Name: "rootfs", Type: swu.TypeDelta, Stored: about, Content: bytes.NewReader(header),
		Delta: swu.Delta{URL: url, ChunkMin: cuts.Min, ChunkAverage: cuts.Average, ChunkMax: cuts.Max},
	}}
	var artifact bytes.Buffer
	if err := swu.Pack(&artifact, m, a.Signer); err != nil {
		return Delta{}, err
	}
	return Delta{artifact.Bytes(), slices.Concat(header, body.Bytes())}, nil
}

package zck

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"testing"
)

var writeImage = flag.String("write-image", "", "write the image of the fixtures to this file, for testdata/generate.sh")

// phrases makes an image of n bytes that packs well and that a rolling hash
// finds cuts in.
func phrases(n int, seed byte) []byte {
	var words [64][window]byte
	r := rand.NewChaCha8([32]byte{seed})
	for i := range words {
		r.Read(words[i][:])
	}
	image := make([]byte, 0, n+window)
	for len(image) < n {
		image = append(image, words[r.Uint64()%64][:]...)
	}
	return image[:n]
}

func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// fixtureImage is what the files in testdata hold.
func fixtureImage() []byte { return phrases(1<<20+12345, 1) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack makes a whole file and returns it with its header as it is read back.
func pack(t testing.TB, image []byte, o Options) ([]byte, *Header) {
	t.Helper()
	var body bytes.Buffer
	header, err := Pack(&body, bytes.NewReader(image), o)
	must(t, err)
	h, err := ReadHeader(bytes.NewReader(header), int64(len(header)))
	must(t, err)
	return append(header, body.Bytes()...), h
}

// unpack puts the image together from a whole file.
func unpack(t testing.TB, file []byte) []byte {
	t.Helper()
	h, err := ReadHeader(bytes.NewReader(file), 1<<22)
	must(t, err)
	d, err := h.NewDecoder()
	must(t, err)
	defer d.Close()
	body := file[h.HeaderSize:]
	var image, plain []byte
	for i, c := range h.Chunks(0) {
		if c.Offset != int64(len(image)) {
			t.Fatalf("chunk %d is at %d, not %d", i, c.Offset, len(image))
		}
		plain, err = d.Decode(plain, c, body[c.BodyOffset:][:c.BodySize])
		must(t, err)
		image = append(image, plain...)
	}
	if int64(len(image)) != h.Size || h.HeaderSize+h.BodySize != int64(len(file)) {
		t.Errorf("image %d of %d bytes, file %d+%d of %d", len(image), h.Size, h.HeaderSize, h.BodySize, len(file))
	}
	return image
}

// cuts lists the sizes of all chunks.
func cuts(t testing.TB, r io.Reader, p Params) (sizes []int) {
	t.Helper()
	for c := NewChunker(r, p); ; {
		chunk, err := c.Next()
		if err == io.EOF {
			return sizes
		}
		must(t, err)
		sizes = append(sizes, len(chunk))
	}
}

func sizesOf(h *Header) (sizes []int) {
	for _, c := range h.Chunks(0) {
		sizes = append(sizes, c.Size)
	}
	return sizes
}

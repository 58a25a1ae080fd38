package swu

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ulikunitz/xz"
)

// unpack decompresses in pieces of odd sizes.
func unpack(kind string, b []byte) ([]byte, error) {
	r, err := Decompress(kind, iotest.HalfReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(iotest.HalfReader(r))
}

func xzOf(t testing.TB, b []byte, c xz.WriterConfig) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := c.NewWriter(&out)
	must(t, err)
	_, err = w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// What the programs themselves write is read back.
func TestOthersCompress(t *testing.T) {
	t.Parallel()
	plain := append(sample(300_000), bytes.Repeat([]byte("again and again "), 20_000)...)
	for _, command := range []string{
		"xz -c", "xz -c -0", "xz -c -C crc32", "xz -c -C none", "xz -c -C sha256", "xz -c --block-size=65536", "xz -c -e",
		"lz4 -c", "lz4 -c -9 -BD", "lz4 -c -1 -B4 -BD", "lz4 -c -B4 --no-frame-crc", "lz4 -c -BX --content-size",
		"zstd -c -19", "gzip -c -9 -n",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			fields := strings.Fields(command)
			stored := run(t, t.TempDir(), string(plain), fields[0], fields[1:]...)
			kind := map[string]string{"gzip": KindZlib}[fields[0]]
			if kind == "" {
				kind = fields[0]
			}
			twice := append(bytes.Clone(stored), stored...)
			if kind == KindXZ { // streams may have padding between them
				twice = append(append(bytes.Clone(stored), 0, 0, 0, 0), stored...)
			}
			for _, tt := range []struct{ stored, want []byte }{{stored, plain}, {twice, append(bytes.Clone(plain), plain...)}} {
				got, err := unpack(kind, tt.stored)
				must(t, err)
				if !bytes.Equal(got, tt.want) {
					t.Errorf("%d bytes came out, not the %d that went in", len(got), len(tt.want))
				}
			}
		})
	}
}

func TestXZRefuses(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("some text "), 2000)
	good := xzOf(t, plain, xz.WriterConfig{BlockSize: 4096, DictCap: 4096})
	if got, err := unpack(KindXZ, good); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	t.Run("every truncation", func(t *testing.T) {
		for n := range good {
			if _, err := unpack(KindXZ, good[:n]); KindOf(err) != Damaged {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
	})
	t.Run("every damaged byte", func(t *testing.T) {
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 0x41
			if got, err := unpack(KindXZ, bad); KindOf(err) == "" && !bytes.Equal(got, plain) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	})
	t.Run("dictionary", func(t *testing.T) {
		_, err := unpack(KindXZ, xzOf(t, plain, xz.WriterConfig{DictCap: 2 * MaxXZDictionaryBytes}))
		wantError(t, err, Unsupported, "8 MiB")
	})
	t.Run("what follows", func(t *testing.T) {
		for _, tail := range []string{"x", "\x00", "\x00\x00\x00", "garbage garbage garbage"} {
			if _, err := unpack(KindXZ, append(bytes.Clone(good), tail...)); KindOf(err) != Damaged {
				t.Errorf("%q behind the stream: %v", tail, err)
			}
		}
	})
}

func TestLZ4Refuses(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("some text "), 2000)
	good := run(t, t.TempDir(), string(plain), "lz4", "-c", "-BX", "-B4")
	for n := range good {
		if _, err := unpack(KindLZ4, good[:n]); KindOf(err) != Damaged {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		if _, err := unpack(KindLZ4, bad); KindOf(err) != Damaged {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if _, err := unpack(KindLZ4, []byte("garbage garbage")); KindOf(err) != Damaged {
		t.Errorf("garbage: %v", err)
	}
}

const testKey = "390ad54490a4a5f53722291023c19e08ffb5c4677a59e958c96ffa6e641df040"

// The vectors come from openssl, which is what producers encrypt with.
func TestDecrypt(t *testing.T) {
	t.Parallel()
	const iv = "d5d601bacfe13100b149177318ebc7a4"
	ivt, err := hex.DecodeString(iv)
	must(t, err)
	for _, size := range []int{0, 1, 15, 16, 17, 32<<10 - 16, 32<<10 - 1, 32 << 10, 32<<10 + 1, 200_000} {
		for _, kind := range []string{"aes-cbc", "aes-cbc-256", "aes-cbc-128", "aes-ctr", "aes-ctr-192"} {
			t.Run(fmt.Sprintf("%s %d", kind, size), func(t *testing.T) {
				t.Parallel()
				bits := map[string]int{"aes-cbc-128": 128, "aes-ctr-192": 192}[kind]
				if bits == 0 {
					bits = 256
				}
				mode := kind[len("aes-"):len("aes-cbc")]
				hexKey := testKey[:bits/4]
				plain := sample(size)
				stored := run(t, t.TempDir(), string(plain), "openssl", "enc", fmt.Sprintf("-aes-%d-%s", bits, mode), "-K", hexKey, "-iv", iv)
				key, err := ParseKey([]byte(hexKey + " 00000000000000000000000000000000\n"))
				must(t, err)
				i := Image{Filename: "img", Encrypted: kind, ivt: ivt, SHA256: hashOf(string(stored)), DecompressedBytes: -1}
				r, err := i.Plain(iotest.HalfReader(bytes.NewReader(stored)), key)
				must(t, err)
				got, err := io.ReadAll(r)
				must(t, err)
				if !bytes.Equal(got, plain) {
					t.Errorf("%d bytes came out, not the %d that went in", len(got), size)
				}
			})
		}
	}
}

func TestDecryptRefuses(t *testing.T) {
	t.Parallel()
	key, err := ParseKey([]byte(testKey + " d5d601bacfe13100b149177318ebc7a4"))
	must(t, err)
	bare, err := ParseKey([]byte(testKey))
	must(t, err)
	block, err := aes.NewCipher(make([]byte, 16))
	must(t, err)
	foreign := make([]byte, 64)
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(foreign, foreign)
	wire := errors.New("wire cut")
	for _, tt := range []struct {
		name   string
		kind   string
		key    *Key
		stored io.Reader
		want   Kind
		words  string
	}{
		{"no key", "aes-cbc", nil, bytes.NewReader(foreign), Unsupported, "no key"},
		{"no vector", "aes-cbc", bare, bytes.NewReader(foreign), Unsupported, "initial vector"},
		{"another length", "aes-ctr-128", key, bytes.NewReader(foreign), Unsupported, "256 bits"},
		{"another key", "aes-cbc", key, bytes.NewReader(foreign), Damaged, "cannot be decrypted"},
		{"odd size", "aes-cbc", key, bytes.NewReader(foreign[:50]), Damaged, "size"},
		{"empty", "aes-cbc", key, bytes.NewReader(nil), Damaged, "size"},
		{"broken source", "aes-cbc", key, iotest.ErrReader(wire), "", "wire cut"},
	} {
		i := Image{Filename: "img", Encrypted: tt.kind, Line: 4, DecompressedBytes: -1, DecompressedSHA256: emptyHash}
		r, err := i.Plain(tt.stored, tt.key)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		wantError(t, err, tt.want, tt.words)
		if strings.Contains(err.Error(), testKey[:8]) {
			t.Errorf("%s: the error tells the key", tt.name)
		}
	}
	for _, bad := range []string{"", "00", testKey + " 00", testKey[:62], "x" + testKey[1:], testKey + " a b"} {
		if _, err := ParseKey([]byte(bad)); err == nil || len(bad) > 8 && strings.Contains(err.Error(), bad[:8]) {
			t.Errorf("key %q: %v", bad, err)
		}
	}
	if fmt.Sprintf("%v %s", key, key) != "AES key AES key" {
		t.Errorf("a key prints as %v", key)
	}
}

// Whatever comes in, no more comes out than was declared, and errors have a
// kind.
func FuzzDecompress(f *testing.F) {
	plain := bytes.Repeat([]byte("some text "), 50)
	f.Add(byte(0), xzOf(f, plain, xz.WriterConfig{DictCap: 4096}))
	for i, kind := range []string{KindXZ, KindLZ4, KindZlib, KindZstd} {
		f.Add(byte(i), []byte{})
		if kind == KindZlib || kind == KindZstd {
			var b bytes.Buffer
			_, err := Compress(&b, bytes.NewReader(plain), kind)
			must(f, err)
			f.Add(byte(i), b.Bytes())
		}
	}
	// A block of literals, one with a match that overlaps itself, one raw.
	for _, block := range []string{"\x05\x00\x00\x00\x40abcd", "\x09\x00\x00\x00\x1fa\x01\x00\x10\x50bcdef"[:13], "\x03\x00\x00\x80abc"} {
		header := "\x60\x40"
		f.Add(byte(1), []byte("\x04\x22\x4d\x18"+header+string([]byte{byte(xxh32Of([]byte(header)) >> 8)})+block+"\x00\x00\x00\x00"))
	}
	f.Fuzz(func(t *testing.T, which byte, stored []byte) {
		const limit = 64 << 10
		kind := []string{KindXZ, KindLZ4, KindZlib, KindZstd}[which%4]
		i := Image{Filename: "img", Compressed: kind, DecompressedBytes: limit, SHA256: emptyHash}
		r, err := i.Plain(bytes.NewReader(stored), nil)
		if err == nil {
			var n int64
			n, err = io.Copy(io.Discard, r)
			if n > limit {
				t.Errorf("%d bytes came out", n)
			}
			must(t, r.Close())
		}
		if err != nil && KindOf(err) == "" {
			t.Errorf("no kind: %v", err)
		}
	})
}

package upgradelink

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSignVectors holds Sign against the signatures of the vendor's SDK (md5)
// and of the server (server_md5). Where they differ the server decides.
func TestSignVectors(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/signature_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Name, Nonce, SecretKey, Timestamp, URI, MD5, Note string
			BodyHex                                           string `json:"body_hex"`
			ServerMD5                                         string `json:"server_md5"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 47 {
		t.Fatalf("%d vectors, want 47", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			body, err := hex.DecodeString(v.BodyHex)
			if err != nil {
				t.Fatal(err)
			}
			uri, want := v.URI, v.ServerMD5
			if strings.Contains(v.Note, "server_md5 is not meaningful") {
				// The row gives the target already unescaped. On the request
				// line it is escaped, and then the SDK's value is right.
				uri, want = "/v1/url/upgrade?name=%E5%9B%BA%E4%BB%B6&p=a%2Bb", v.MD5
			}
			if got := Sign(body, v.Nonce, v.SecretKey, v.Timestamp, uri); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestNoncesAreFresh(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{16}$`)
	seen := map[string]bool{}
	for range 1000 {
		n := newNonce()
		if !form.MatchString(n) || seen[n] {
			t.Fatalf("nonce %q is malformed or came twice", n)
		}
		seen[n] = true
	}
}

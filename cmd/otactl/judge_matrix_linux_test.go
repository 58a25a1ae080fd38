package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// The payloads of the matrix; a size that is no multiple of anything.
var (
	rootfs   = noise(70_001)
	other    = noise(33_333)
	theTar   = tarOf("a.txt", "one", "sub/b.txt", "two")
	goodFile = "new content\n"
)

// noise is n bytes, half of which compress.
func noise(n int) string {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.IntN(16))
		if i%2 == 0 {
			b[i] = 'x'
		}
	}
	return string(b)
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s)) // to memory
	_ = w.Close()
	return b.String()
}

func zst(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

func xzed(s string) string {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// cbc encrypts as `openssl enc -aes-256-cbc` does, with the judge's key.
func cbc(s, iv string) string {
	block, vector := judgeCipher(iv)
	pad := aes.BlockSize - len(s)%aes.BlockSize
	b := append([]byte(s), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, vector).CryptBlocks(b, b)
	return string(b)
}

func ctr(s, iv string) string {
	block, vector := judgeCipher(iv)
	b := []byte(s)
	cipher.NewCTR(block, vector).XORKeyStream(b, b)
	return string(b)
}

func judgeCipher(iv string) (cipher.Block, []byte) {
	key, _ := hex.DecodeString(judgeKey[:64])
	vector, _ := hex.DecodeString(iv)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return block, vector
}

const (
	fileIV  = "d5d601bacfe13100b149177318ebc7a4" // of judgeKey
	entryIV = "00112233445566778899aabbccddeeff"
)

func tarOf(pairs ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		_, _ = w.Write([]byte(pairs[i+1]))
	}
	_ = w.Close()
	return b.String()
}

// software wraps the inside of a description for the judged box.
func software(inside string) string {
	return "software = {\n version = \"2.0\";\n hardware-compatibility = [ \"1.0\" ];\n" + inside + "\n};\n"
}

// raw is an image of the whole slot.
func raw(more string) string {
	return `images = ( { filename = "rootfs"; type = "raw"; device = "{dev}"; sha256 = "{sha256:rootfs}"; ` + more + ` } );` + "\n"
}

func asJSON(fields string) string {
	return `{ "software": { "version": "2.0", "hardware-compatibility": [ "1.0" ],
		"images": [ { "filename": "rootfs", "type": "raw", "device": "{dev}", "sha256": "{sha256:rootfs}"` + fields + ` } ] } }`
}

var plain = []payload{{"rootfs", rootfs}}

// matrix is every artifact that the two programs are asked about.
func matrix() []judged {
	var rows []judged
	for _, group := range [][]judged{formRows(), signatureRows(), selectionRows(), conditionRows(), scriptRows(), fileRows(), errorRows(), languageRows()} {
		rows = append(rows, group...)
	}
	return rows
}

// formRows: archive form × language × compression × encryption.
func formRows() []judged {
	var rows []judged
	compressions := []struct{ name, libconfig, json, data, differs string }{
		{"plain", "", "", rootfs, ""},
		{"true", "compressed = true;", `, "compressed": true`, gz(rootfs), ""},
		{"false", "compressed = false;", `, "compressed": false`, rootfs, ""},
		{"zlib", `compressed = "zlib";`, `, "compressed": "zlib"`, gz(rootfs), ""},
		{"zstd", `compressed = "zstd";`, `, "compressed": "zstd"`, zst(rootfs), ""},
		{"xz", `compressed = "xz";`, `, "compressed": "xz"`, xzed(rootfs), "xz and lz4"},
	}
	encryptions := []struct {
		name, libconfig, json string
		encrypt               func(string) string
		differs               string
	}{
		{"clear", "", "", func(s string) string { return s }, ""},
		{"cbc", "encrypted = true;", `, "encrypted": true`, func(s string) string { return cbc(s, fileIV) }, ""},
		{"cbc ivt", `encrypted = true; ivt = "` + entryIV + `";`, `, "encrypted": true, "ivt": "` + entryIV + `"`, func(s string) string { return cbc(s, entryIV) }, ""},
		{"ctr", `encrypted = "aes-ctr-256"; ivt = "` + entryIV + `";`, `, "encrypted": "aes-ctr-256", "ivt": "` + entryIV + `"`, func(s string) string { return ctr(s, entryIV) }, "aes-ctr"},
	}
	for i, c := range compressions {
		for j, e := range encryptions {
			data := []payload{{"rootfs", e.encrypt(c.data)}}
			differs := c.differs + e.differs
			if c.differs != "" {
				differs = c.differs
			}
			name := c.name + " " + e.name
			row := judged{name: "libconfig crc " + name, description: software(raw(c.libconfig + e.libconfig))}
			if (i+j)%2 == 1 {
				row = judged{name: "JSON newc " + name, description: asJSON(c.json + e.json), newc: true}
			}
			row.payloads, row.good, row.differs = data, true, differs
			rows = append(rows, row)
		}
	}
	return rows
}

func signatureRows() []judged {
	rows := []judged{
		{name: "RSA", sign: signedBy("release"), good: true},
		{name: "ECDSA P-256", sign: signedBy("p256"), good: true},
		{name: "ECDSA P-384", sign: signedBy("p384"), good: true},
		{name: "openssl RSA", sign: openssl("release"), good: true},
		{name: "openssl SHA-512", sign: openssl("release", "-md", "sha512"), good: true},
		{name: "openssl P-384", sign: openssl("p384", "-md", "sha384"), good: true},
		{name: "openssl RSA-PSS", sign: openssl("release", "-keyopt", "rsa_padding_mode:pss"), good: true},
		{name: "openssl key id", sign: openssl("release", "-keyid"), good: true},
		{name: "intermediate in the message", sign: openssl("below", "+chain"), good: true, differs: "intermediate certificates"},
		{name: "intermediate missing", sign: openssl("below")},
		{name: "two signers, one trusted", sign: openssl("release", "+stranger"), good: true},
		{name: "stranger", sign: signedBy("stranger")},
		{name: "expired", sign: signedBy("expired")},
		{name: "not yet valid", sign: signedBy("early")},
		{name: "code signing", sign: signedBy("code"), good: true, differs: "code signing"},
		{name: "no purpose", sign: signedBy("any"), good: true},
		{name: "server certificate", sign: signedBy("server")},
		{name: "unsigned", sign: unsigned},
		{name: "signs another text", sign: signedOther},
		{name: "bare RSA", sign: bareRSA},
		{name: "signature of garbage", sign: func(*testing.T, *keyring, []byte) []byte { return []byte("garbage") }},
		{name: "SHA-1", sign: openssl("release", "-md", "sha1"), differs: "SHA-1 and missing attributes"},
		{name: "no attributes", sign: openssl("release", "-noattr"), differs: "SHA-1 and missing attributes"},
		{name: "content inside", sign: openssl("release", "-nodetach"), differs: "content inside the signature"},
	}
	for i := range rows {
		rows[i].name = "signature: " + rows[i].name
		rows[i].description, rows[i].payloads = software(raw("")), plain
	}
	return rows
}

// selectionRows: which part of the description is for this box.
func selectionRows() []judged {
	hw := `hardware-compatibility = [ "1.0" ];`
	wrong := `images = ( { filename = "rootfs"; type = "raw"; device = "{dev2}"; sha256 = "{sha256:rootfs}"; } );`
	top := func(inside string) string { return "software = { version = \"2.0\"; " + inside + " };" }
	revision := func(list string) string {
		return "software = { version = \"2.0\"; hardware-compatibility = " + list + "; " + raw("") + " };"
	}
	rows := []judged{
		{name: "board", description: top("stv1 = { " + hw + raw("") + " };"), good: true},
		{name: "board.set.mode", description: top("stv1 = { " + hw + " stable = { copy1 = { " + raw("") + " }; copy2 = { " + wrong + " }; }; };"), good: true},
		{name: "set.mode", description: top(hw + "stable = { copy1 = { " + raw("") + " }; copy2 = { " + wrong + " }; };"), good: true},
		{name: "copy2", description: top(hw + "stable = { copy1 = { " + wrong + " }; copy2 = { " + raw("") + " }; };"), box: []string{"stv1", "1.0", "stable", "copy2"}, good: true},
		{name: "special wins", description: top(hw + wrong + "stv1 = { " + wrong + "stable = { copy1 = { " + raw("") + " }; }; };"), good: true},
		{name: "board before top", description: top(hw + wrong + "stv1 = { " + raw("") + " };"), good: true},
		{name: "JSON board.set.mode", description: `{ "software": { "version": "2.0", "stv1": { "hardware-compatibility": [ "1.0" ], "stable": { "copy1": { "images": [ { "filename": "rootfs", "type": "raw", "device": "{dev}", "sha256": "{sha256:rootfs}" } ] } } } } }`, good: true},
		{name: "another board", description: top("stv2 = { " + hw + raw("") + " };")},
		{name: "another mode", description: top(hw + "stable = { copy2 = { " + raw("") + " }; };")},
		{name: "another set", description: top(hw + "testing = { copy1 = { " + raw("") + " }; };")},
		{name: "linked place", description: top(hw + "common = { " + raw("") + " }; stable = { copy1 = { ref = \"#./../common\"; }; };"), good: true},
		{name: "linked section", description: top(hw + "common = { list = ( { filename = \"rootfs\"; type = \"raw\"; device = \"{dev}\"; sha256 = \"{sha256:rootfs}\"; } ); }; stable = { copy1 = { images = { ref = \"#./../../common/list\"; }; }; };"), good: true},
		{name: "link in a circle", description: top(hw + "stable = { copy1 = { ref = \"#./../copy1\"; }; };")},
		{name: "revision among several", description: revision(`[ "0.9", "1.0", "1.1" ]`), good: true},
		{name: "another revision", description: revision(`[ "0.9", "1.1" ]`)},
		{name: "revision pattern", description: revision(`[ "#RE:^1\\.[0-9]$" ]`), good: true},
		{name: "revision pattern in the middle", description: revision(`[ "#RE:\\." ]`), good: true},
		{name: "revision pattern of another", description: revision(`[ "#RE:^2" ]`)},
		{name: "no revision", description: revision(`[ ]`)},
		{name: "no hardware", description: top(raw(""))},
	}
	for i := range rows {
		rows[i].name = "selection: " + rows[i].name
		rows[i].payloads = plain
	}
	return rows
}

// conditionRows: installs that depend on what is there. The slot's image is
// always installed; the other one may be skipped by SWUpdate.
func conditionRows() []judged {
	var rows []judged
	const whole = "a slot is written as a whole"
	for _, tt := range []struct{ name, fields, differs string }{
		{"different: the same", `name = "app"; version = "1.2.3"; install-if-different = true;`, whole},
		{"different: another", `name = "app"; version = "1.2.4"; install-if-different = true;`, ""},
		{"different: unknown component", `name = "none"; version = "1"; install-if-different = true;`, ""},
		{"different: false", `name = "app"; version = "1.2.3"; install-if-different = false;`, ""},
		{"higher: the same", `name = "app"; version = "1.2.3"; install-if-higher = true;`, whole},
		{"higher: higher", `name = "app"; version = "1.2.10"; install-if-higher = true;`, ""},
		{"higher: lower", `name = "app"; version = "1.1.9"; install-if-higher = true;`, whole},
		{"higher: pre-release", `name = "app"; version = "1.2.3-rc.1"; install-if-higher = true;`, whole},
		{"higher: two numbers", `name = "kernel"; version = "4.10"; install-if-higher = true;`, ""},
		{"higher: word", `name = "app"; version = "alpha"; install-if-higher = true;`, ""},
		{"higher: unknown component", `name = "none"; version = "0.1"; install-if-higher = true;`, ""},
	} {
		second := `images = ( { filename = "rootfs"; type = "raw"; device = "{dev}"; sha256 = "{sha256:rootfs}"; },
			{ filename = "other"; type = "raw"; device = "{dev2}"; sha256 = "{sha256:other}"; ` + tt.fields + ` } );`
		rows = append(rows, judged{name: "condition: " + tt.name, description: software(second), payloads: []payload{{"rootfs", rootfs}, {"other", other}}, good: true, second: true, differs: tt.differs})
	}
	same := raw(`name = "app"; version = "1.2.3"; install-if-different = true;`)
	rows = append(rows, judged{name: "condition: nothing left", description: software(same), payloads: plain})
	return rows
}

// scriptRows: scripts leave a trace in the data directory.
func scriptRows() []judged {
	trace := "#!/bin/sh\necho \"$(basename $0)\" \"$@\" >> {data}/trace\n"
	script := func(name, kind, more string) string {
		return `{ filename = "` + name + `"; type = "` + kind + `"; sha256 = "{sha256:` + name + `}"; ` + more + ` }`
	}
	with := func(scripts ...string) string {
		return software(raw("") + "scripts = ( " + strings.Join(scripts, ", ") + " );")
	}
	return []judged{
		{name: "script: shellscript", description: with(script("s.sh", "shellscript", "")), payloads: []payload{{"s.sh", trace}, plain[0]}, good: true},
		{name: "script: preinstall", description: with(script("s.sh", "preinstall", "")), payloads: []payload{{"s.sh", trace}, plain[0]}, good: true},
		{name: "script: postinstall", description: with(script("s.sh", "postinstall", "")), payloads: []payload{{"s.sh", trace}, plain[0]}, good: true},
		{name: "script: arguments", description: with(script("s.sh", "shellscript", `data = "one two";`)), payloads: []payload{{"s.sh", trace}, plain[0]}, good: true},
		{name: "script: order", description: with(script("a.sh", "postinstall", ""), script("b.sh", "shellscript", ""), script("c.sh", "preinstall", "")),
			payloads: []payload{{"c.sh", trace}, {"a.sh", trace}, {"b.sh", trace}, plain[0]}, good: true},
		{name: "script: before the image", description: with(script("s.sh", "preinstall", "")), payloads: []payload{{"s.sh", "#!/bin/sh\nhead -c 8 {dev} | od -An -tx1 > {data}/before\n"}, plain[0]}, good: true},
		{name: "script: after the image", description: with(script("s.sh", "postinstall", "")), payloads: []payload{{"s.sh", "#!/bin/sh\nhead -c 8 {dev} | od -An -tx1 > {data}/after\n"}, plain[0]}, good: true},
		{name: "script: without #!", description: with(script("s.sh", "shellscript", "")), payloads: []payload{{"s.sh", "echo \"$1\" >> {data}/trace\n"}, plain[0]}, good: true},
		{name: "script: preinst fails", description: with(script("s.sh", "shellscript", "")), payloads: []payload{{"s.sh", "#!/bin/sh\nexit 1\n"}, plain[0]}},
		{name: "script: postinst fails", late: true, description: with(script("s.sh", "shellscript", "")), payloads: []payload{{"s.sh", "#!/bin/sh\n[ $1 != postinst ]\n"}, plain[0]}},
		{name: "script: wrong hash", description: with(strings.Replace(script("s.sh", "shellscript", ""), "{sha256:s.sh}", "{sha256:rootfs}", 1)), payloads: []payload{{"s.sh", trace}, plain[0]}},
		{name: "script: no hash", description: with(`{ filename = "s.sh"; type = "shellscript"; }`), payloads: []payload{{"s.sh", trace}, plain[0]}},
		{name: "script: Lua", description: with(script("s.lua", "lua", "")), payloads: []payload{{"s.lua", "function preinst() return true, \"\" end\n"}, plain[0]}, differs: "Lua"},
		{name: "embedded script", description: software(raw("") + `embedded-script = "function f() return true end";`), payloads: plain, differs: "Lua"},
		{name: "hook", description: software(raw(`hook = "f";`)), payloads: plain, differs: "Lua"},
	}
}

func fileRows() []judged {
	file := func(fields string) string {
		return software(raw("") + `files = ( { filename = "f"; sha256 = "{sha256:f}"; ` + fields + ` } );`)
	}
	f := func(data string) []payload { return []payload{plain[0], {"f", data}} }
	return []judged{
		{name: "file: new", description: file(`path = "{data}/new.conf";`), payloads: f(goodFile), good: true},
		{name: "file: replaced", description: file(`path = "{data}/old.conf";`), payloads: f(goodFile), good: true},
		{name: "file: shorter", description: file(`path = "{data}/old.conf";`), payloads: f("x"), good: true},
		{name: "file: atomic", description: file(`path = "{data}/old.conf"; properties = { atomic-install = "true"; };`), payloads: f(goodFile), good: true},
		{name: "file: created directory", description: file(`path = "{data}/a/b/new.conf"; properties = { create-destination = "true"; };`), payloads: f(goodFile), good: true},
		{name: "file: no such directory", late: true, description: file(`path = "{data}/a/b/new.conf";`), payloads: f(goodFile)},
		{name: "file: compressed", description: file(`path = "{data}/new.conf"; compressed = "zlib";`), payloads: f(gz(goodFile)), good: true},
		{name: "file: encrypted", description: file(`path = "{data}/new.conf"; encrypted = true;`), payloads: f(cbc(goodFile, fileIV)), good: true},
		{name: "file: no path", description: file(""), payloads: f(goodFile)},
		{name: "file: wrong hash", description: software(raw("") + `files = ( { filename = "f"; path = "{data}/f"; sha256 = "{sha256:rootfs}"; } );`), payloads: f(goodFile)},
		{name: "file: archive", description: file(`type = "archive"; path = "{data}";`), payloads: f(theTar), good: true},
		{name: "file: archive, gzip inside", description: file(`type = "archive"; path = "{data}";`), payloads: f(gz(theTar)), good: true},
		{name: "file: archive, zstd inside", description: file(`type = "archive"; path = "{data}";`), payloads: f(zst(theTar)), good: true},
		{name: "file: archive, xz inside", description: file(`type = "archive"; path = "{data}";`), payloads: f(xzed(theTar)), good: true},
		{name: "file: archive, compressed", description: file(`type = "archive"; path = "{data}"; compressed = "zlib";`), payloads: f(gz(theTar)), good: true},
		{name: "file: archive, created directory", description: file(`type = "archive"; path = "{data}/x/y"; properties = { create-destination = "true"; };`), payloads: f(theTar), good: true},
		{name: "file: archive of garbage", late: true, description: file(`type = "archive"; path = "{data}";`), payloads: f("this is no archive")},
		{name: "file: archive climbs", late: true, description: file(`type = "archive"; path = "{data}";`), payloads: f(tarOf("../climbed", "x")), differs: "names that lead out"},
		{name: "image: archive", description: software(strings.Replace(raw(""), " );", `, { filename = "f"; type = "archive"; path = "{data}"; sha256 = "{sha256:f}"; } );`, 1)), payloads: f(theTar), good: true},
		{name: "image: second device", description: software(strings.Replace(raw(""), " );", `, { filename = "f"; type = "raw"; device = "{dev2}"; sha256 = "{sha256:f}"; } );`, 1)), payloads: f(other), good: true, second: true},
		{name: "image: second device left out", description: software(raw("")), payloads: plain, second: true, differs: "a slot is written as a whole"},
		{name: "files only", description: software(`files = ( { filename = "f"; path = "{data}/f"; sha256 = "{sha256:f}"; } );`), payloads: f(goodFile)[1:], good: true},
		{name: "files only, no restart", description: software(`reboot = false; files = ( { filename = "f"; path = "{data}/f"; sha256 = "{sha256:f}"; } );`), payloads: f(goodFile)[1:], good: true},
		{name: "scripts only", description: software(`scripts = ( { filename = "s.sh"; type = "shellscript"; sha256 = "{sha256:s.sh}"; } );`), payloads: []payload{{"s.sh", "#!/bin/sh\necho $1 >> {data}/trace\n"}}, good: true},
		{name: "bootenv", description: software(raw("") + `bootenv = ( { name = "a"; value = "1"; }, { name = "b"; value = ""; } );`), payloads: plain, good: true},
		{name: "uboot", description: software(raw("") + `uboot = ( { name = "a"; value = "1"; } );`), payloads: plain, good: true},
		{name: "bootenv only", description: software(`bootenv = ( { name = "a"; value = "1"; } );`), differs: "bootenv without an image"},
	}
}

func errorRows() []judged {
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	flip := func(in string) func([]byte) []byte {
		return func(b []byte) []byte {
			b[bytes.Index(b, []byte(in))+1] ^= 1
			return b
		}
	}
	rows := []judged{
		{name: "payload missing", payloads: []payload{}},
		{name: "payload under another name", payloads: []payload{{"other", rootfs}}},
		{name: "payload twice", payloads: []payload{plain[0], plain[0]}, differs: "entries that are there twice"},
		{name: "unused entry", payloads: []payload{{"README", "hello"}, plain[0]}, good: true},
		{name: "entry climbs", payloads: []payload{plain[0], {"../x", "hello"}}, differs: "names that lead out"},
		{name: "entry at the root", payloads: []payload{plain[0], {"/x", "hello"}}, differs: "names that lead out"},
		{name: "payload damaged", archive: flip(rootfs[:50])},
		{name: "payload damaged, newc", newc: true, archive: flip(rootfs[:50])},
		{name: "description changed", archive: flip(`version = "2.0"`)},
		{name: "cut in the payload", archive: func(b []byte) []byte { return b[:len(b)/2] }},
		{name: "cut in the header", archive: cut(60)},
		{name: "cut in the description", archive: cut(200)},
		{name: "empty", archive: cut(0)},
		{name: "a web page", archive: func([]byte) []byte { return []byte("<html>Please log in</html>") }},
		{name: "long padding", archive: func(b []byte) []byte { return append(b, make([]byte, 4608)...) }, good: true},
		{name: "wrong hash", description: software(strings.Replace(raw(""), "{sha256:rootfs}", strings.Repeat("ab", 32), 1))},
		{name: "short hash", description: software(strings.Replace(raw(""), "{sha256:rootfs}", "abcd", 1))},
		{name: "no hash", description: software(`images = ( { filename = "rootfs"; type = "raw"; device = "{dev}"; } );`)},
		{name: "upper-case hash", description: software(strings.Replace(raw(""), "{sha256:rootfs}", "{SHA}", 1)), good: true},
		{name: "size", description: software(raw("size = {size:rootfs}L;")), good: true},
		{name: "wrong size", description: software(raw("size = 1000L;")), differs: "a size that is wrong"},
		{name: "offset", description: software(raw(`offset = "64K";`)), good: true},
		{name: "offset as a number", description: software(raw(`offset = 4096;`)), good: true},
		{name: "offset of no block", description: software(raw(`offset = "1001";`)), good: true},
		{name: "offset in words", description: software(raw(`offset = "far";`))},
		{name: "unknown type", description: software(strings.Replace(raw(""), `type = "raw"`, `type = "magic"`, 1))},
		{name: "type left out", description: software(strings.Replace(raw(""), `type = "raw";`, "", 1)), good: true},
		{name: "unknown compression", description: software(raw(`compressed = "bzip2";`))},
		{name: "compressed, but it is not", late: true, description: software(raw(`compressed = "zlib";`))},
		{name: "encrypted with another key", late: true, description: software(raw("encrypted = true;")), payloads: []payload{{"rootfs", rootfs[:70_000]}}},
		{name: "installed directly", description: software(raw("installed-directly = true;")), good: true},
		{name: "UBI volume", description: software(`images = ( { filename = "rootfs"; volume = "v"; sha256 = "{sha256:rootfs}"; } );`)},
		{name: "partitions", description: software(raw("") + `partitions = ( { name = "v"; device = "mtd0"; size = 1000; } );`)},
		{name: "no images", description: software("")},
		{name: "images are empty", description: software("images = ();")},
		{name: "no version", description: strings.Replace(software(raw("")), `version = "2.0";`, "", 1)},
		{name: "no filename", description: software(`images = ( { type = "raw"; device = "{dev}"; sha256 = "{sha256:rootfs}"; } );`)},
		{name: "larger than the slot", payloads: []payload{{"rootfs", noise(deviceBytes + 1)}}, differs: "larger than the slot"},
		{name: "unknown field", description: software(raw(`colour = "blue";`)), good: true},
		{name: "reboot", description: software("reboot = false;" + raw("")), good: true},
		{name: "update type", description: software(`update-type = "application";` + raw("")), good: true},
		{name: "vars", description: software(raw("") + `vars = ( { name = "a"; value = "1"; } );`), good: true},
	}
	for i := range rows {
		r := &rows[i]
		r.name = "error: " + r.name
		if r.payloads == nil {
			r.payloads = plain
		}
		if r.description == "" {
			r.description = software(raw(""))
		}
	}
	return rows
}

// languageRows: the same image, said in other words.
func languageRows() []judged {
	image := `{ filename = "rootfs"; type = "raw"; device = "{dev}"; sha256 = "{sha256:rootfs}"; }`
	jsonImage := `{ "filename": "rootfs", "type": "raw", "device": "{dev}", "sha256": "{sha256:rootfs}" }`
	jsonTop := `"version": "2.0", "hardware-compatibility": [ "1.0" ]`
	rows := []judged{
		{name: "comments", description: "# one\n" + software("// two\n/* three\n */ images = ( "+image+" );"), good: true},
		{name: "colons and commas", description: `software: { version: "2.0", hardware-compatibility: [ "1.0" ], images: ( ` + image + ` ) }`, good: true},
		{name: "joined strings", description: software(strings.Replace(raw(""), `"rootfs"`, `"root" "fs"`, 1)), good: true},
		{name: "hexadecimal number", description: software(raw(`size = 0x11171;`)), good: true},
		{name: "a name twice", description: software(raw("") + `version = "3.0";`)},
		{name: "a brace too few", description: strings.TrimSuffix(software(raw("")), "};\n")},
		{name: "@include", description: software("@include \"x\"\n" + raw(""))},
		{name: "list for array", description: strings.Replace(software(raw("")), `[ "1.0" ]`, `( "1.0" )`, 1), good: true},
		{name: "JSON comments", description: "/* one */ { \"software\": { // two\n" + jsonTop + `, "images": [ ` + jsonImage + ` ] } }`, good: true},
		{name: "JSON object for a list", description: `{ "software": { ` + jsonTop + `, "images": ` + jsonImage + ` } }`, good: true, differs: "one element in JSON"},
		{name: "JSON garbage behind", description: asJSON("") + " garbage", differs: "text behind JSON"},
		{name: "JSON a brace too few", description: strings.TrimSuffix(asJSON(""), "}")},
		{name: "JSON a name twice", description: `{ "software": { ` + jsonTop + `, "version": "3.0", "images": [ ` + jsonImage + ` ] } }`, differs: "names that are set twice in JSON"},
		{name: "JSON offset", description: asJSON(`, "offset": "16K"`), good: true, differs: "offset in JSON"},
		{name: "JSON number for a boolean", description: asJSON(`, "compressed": 0`), differs: "fields of another kind"},
		{name: "not software", description: "firmware = { };"},
		{name: "empty", description: ""},
		{name: "binary", description: "\x00\x01\x02"},
	}
	for i := range rows {
		rows[i].name = fmt.Sprintf("language: %s", rows[i].name)
		rows[i].payloads = plain
	}
	return rows
}

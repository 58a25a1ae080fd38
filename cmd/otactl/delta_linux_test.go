package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"otad/build/tooltest"
	"otad/cmd/internal/cli"
)

// A delta for SWUpdate is what Debian's swupdate installs: of our own file and
// of one that zck has made. It fetches only what is new.
func TestSwupdateTakesOurDeltas(t *testing.T) {
	t.Parallel()
	tooltest.Path(t, "swupdate")
	tooltest.Path(t, "zck")
	for _, tt := range []struct {
		name, file string
		more       []string
	}{
		{"our file", "a-rootfs.zck", []string{"--delta-chunks", "swupdate"}},
		{"our file and JSON", "a-rootfs.zck", []string{"--delta-chunks", "swupdate", "--json-description"}},
		{"the file of zck", "zck.zck", []string{"--delta-from", "zck.zck"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, in := workshop(t, "rsa")
			deltaImages(t, in, true)
			p := newPlaces(t)
			if tt.file == "zck.zck" {
				if said, err := exec.Command("zck", "-u", "-h", "sha256", "-o", in(tt.file), in("rootfs.ext4")).CombinedOutput(); err != nil {
					t.Fatalf("zck: %v\n%s", err, said)
				}
				tt.more[1] = in(tt.file)
			}
			image, err := os.ReadFile(in("rootfs.ext4"))
			if err != nil {
				t.Fatal(err)
			}
			inNetwork(t, func(l net.Listener, tr *trial) {
				served := serveFiles(t, l, in(""))
				want(t, cli.Done, packArgs(in, append(tt.more, "--delta", "http://"+l.Addr().String()+"/", "--revision", "1.0",
					"--device", "copy1="+in("old.img")+",copy2="+p.in("dev"), "-o", in("a.swu"))...)...)
				tr.places = p
				tr.theirs = []string{"swupdate", "-v", "-M", "-k", in("keys/ca.pem"), "-H", "stv1:1.0", "-e", "stable,copy2", "-i", in("a.swu")}
				tr.run()
				theirs := tr.judge(t)
				if !theirs.good {
					t.Fatalf("swupdate refuses it:\n%s", theirs.said)
				}
				if got, err := os.ReadFile(p.in("dev")); err != nil || !bytes.HasPrefix(got, image) {
					t.Errorf("it installed something else: %v", err)
				}
				if n := served.Load(); n == 0 || n > int64(len(image)/4) {
					t.Errorf("%d bytes were fetched for 13 new ones", n)
				}
			})
		})
	}
}

// inNetwork runs f in a network of its own, where swupdate's processes meet
// nobody else's, and the listener is in it; where that is not allowed, in the
// network of all, one at a time.
func inNetwork(t *testing.T, f func(net.Listener, *trial)) {
	t.Helper()
	var wait sync.WaitGroup
	wait.Go(func() {
		tr := &trial{}
		runtime.LockOSThread() // and not unlocked: the thread ends with its network
		if err := ownNetwork(); err == nil {
			tr.inOwn = true
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		f(l, tr)
	})
	wait.Wait()
}

// ownNetwork gives the thread a network that has a loopback only.
func ownNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// serveFiles serves a directory and counts the bytes of bodies.
func serveFiles(t *testing.T, l net.Listener, dir string) *atomic.Int64 {
	t.Helper()
	served := &atomic.Int64{}
	files := http.FileServer(http.Dir(dir))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(counting{w, served}, r)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return served
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

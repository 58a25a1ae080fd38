package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(ctx context.Context, script string, input string) (Result, error) {
	return Run(ctx, "/bin/sh", []byte(input), "-c", script)
}

func TestRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, input string
		answer, said        string
		err                 string // "" for success
	}{
		{"input and answer", "cat", "hello", "hello", "", ""},
		{"input left unread", "exit 0", strings.Repeat("x", 1<<20), "", "", ""},
		{"standard error is kept apart", "echo note >&2; echo yes", "", "yes\n", "note", ""},
		{"clean environment", `echo "$PATH $LANG $HOME"; pwd`, "", "/usr/sbin:/usr/bin:/sbin:/bin C \n/\n", "", ""},
		{"failure with words", "echo broken >&2; exit 3", "", "", "broken", `hook "sh": exit status 3: broken`},
		{"failure on the wrong channel", "echo broken; exit 3", "", "broken\n", "", `hook "sh": exit status 3: broken`},
		{"ended by a signal", "kill -9 $$", "", "", "", `hook "sh": signal: killed`},
		{"endless words are cut", "i=0; while [ $i -lt 9000 ]; do echo xxxxxxxxx >&2; i=$((i+1)); done", "", "",
			strings.TrimSpace(strings.Repeat("xxxxxxxxx\n", MaxSaid/10+1)[:MaxSaid]), ""},
		{"terminal codes", `printf '\033[2Jred\377\000\n' >&2; exit 1`, "", "", "[2Jred", `hook "sh": exit status 1: [2Jred`},
		{"a child in the background", "sleep 30 & echo done", "", "done\n", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := sh(t.Context(), test.script, test.input)
			if text := errText(err); text != test.err {
				t.Errorf("got error %q, want %q", text, test.err)
			}
			if string(got.Answer) != test.answer || got.Said != test.said {
				t.Errorf("got answer %q and words %q, want %q and %q", got.Answer, got.Said, test.answer, test.said)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAnswerTooLong(t *testing.T) {
	t.Parallel()
	got, err := sh(t.Context(), "cat /dev/zero", "")
	if !errors.Is(err, ErrTooLong) || len(got.Answer) != MaxOutput {
		t.Errorf("got %d bytes and %v, want %d and ErrTooLong", len(got.Answer), err, MaxOutput)
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{"exit 7": 7, "kill -15 $$": -1} {
		var e *Error
		if _, err := sh(t.Context(), script, ""); !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: got %v, want code %d", script, err, want)
		}
	}
	var e *Error
	if _, err := Run(t.Context(), "/no/such/hook", nil); !errors.As(err, &e) || e.Code != -1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such hook: got %v, want code -1 and ErrNotExist", err)
	}
}

// TestTimeout: the hook and its child are gone, and nobody waited for them.
func TestTimeout(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	started := time.Now()
	go func() {
		defer cancel()
		for t.Context().Err() == nil { // until the child is there
			if data, _ := os.ReadFile(pidFile); strings.HasSuffix(string(data), "\n") {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := Run(ctx, "/bin/sh", nil, "-c", `trap "" TERM; sleep 600 & echo $! > "$1"; wait`, "sh", pidFile)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // it is killed already, but its parent may yet have to reap it
		if gone(pid) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the child %d lives on", pid)
}

// gone tells whether pid ended; one that nobody reaped has ended, too.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

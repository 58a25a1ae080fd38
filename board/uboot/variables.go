package uboot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"otad/board"
)

// variables is an environment: entries of the form name=value in the order of
// the file. What otad does not know it carries along unchanged.
type variables []string

var errUnterminated = errors.New("the list of variables has no end")

// parseVariables reads entries that end with NUL each, up to an empty one.
// What follows is padding.
func parseVariables(data []byte) (variables, error) {
	var v variables
	for {
		entry, rest, ended := bytes.Cut(data, []byte{0})
		if !ended {
			return nil, errUnterminated
		}
		if len(entry) == 0 {
			return v, nil
		}
		v = append(v, string(entry))
		data = rest
	}
}

// bytes returns the entries in their file form, padded with NUL to size.
func (v variables) bytes(size int) ([]byte, error) {
	data := make([]byte, 0, size)
	for _, entry := range v {
		data = append(append(data, entry...), 0)
	}
	if len(data)+1 > size {
		return nil, fmt.Errorf("%d bytes of variables do not fit into %d", len(data)+1, size)
	}
	return data[:size], nil // beyond the length there are zeros still
}

// get returns the value of name; as in U-Boot the last entry counts.
func (v variables) get(name string) (value string, ok bool) {
	for _, entry := range v {
		if n, val, found := strings.Cut(entry, "="); found && n == name {
			value, ok = val, true
		}
	}
	return value, ok
}

// set makes value the only value of name, where name was or else at the end.
func (v *variables) set(name, value string) {
	entry := name + "=" + value
	at := slices.IndexFunc(*v, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if at < 0 {
		*v = append(*v, entry)
		return
	}
	head := append(slices.Clone((*v)[:at]), entry)
	tail := slices.Clone((*v)[at+1:])
	tail.unset(name)
	*v = append(head, tail...)
}

func (v *variables) unset(name string) {
	*v = slices.DeleteFunc(*v, func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// change sets and unsets what an artifact asks for.
func (v *variables) change(changes []board.Variable) {
	for _, c := range changes {
		if c.Value == "" {
			v.unset(c.Name)
		} else {
			v.set(c.Name, c.Value)
		}
	}
}

//go:build darwin && !cgo

package main

import ports "go.bug.st/serial"

// serialPorts knows no USB ids here: the system tells them to C only.
func serialPorts() ([]serialPort, error) {
	names, err := ports.GetPortsList()
	list := []serialPort{}
	for _, name := range names {
		list = append(list, serialPort{Name: name})
	}
	return list, err
}

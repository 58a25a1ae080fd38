package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// histogram counts what comes at a server in buckets of time of one width,
// from the instant of a command on.
type histogram struct {
	title string // what is counted
	width time.Duration
	count []int
	limit int           // of one bucket, set by whoever runs the server
	last  time.Duration // when the last one came
}

// newHistogram counts the instants in buckets that reach from begin to end, and
// further when there is something later. What is too early is in the first.
func newHistogram(title string, begin time.Time, end, width time.Duration, limit int, at []time.Time) *histogram {
	h := &histogram{title: title, width: width, limit: limit, count: make([]int, (end+width-1)/width)}
	for _, t := range at {
		after := max(0, t.Sub(begin))
		for int(after/width) >= len(h.count) {
			h.count = append(h.count, 0)
		}
		h.count[after/width]++
		h.last = max(h.last, after)
	}
	return h
}

func (h *histogram) total() (n, most int) {
	for _, c := range h.count {
		n, most = n+c, max(most, c)
	}
	return n, most
}

func (h *histogram) mean() float64 {
	n, _ := h.total()
	return float64(n) / float64(len(h.count))
}

// withinLimit tells which bucket is above the limit. What was due while the
// machine stood still comes in a bucket on top of that one's own.
func (h *histogram) withinLimit(stalled time.Duration) error {
	most := int(float64(h.limit) * (1 + stalled.Seconds()/h.width.Seconds()))
	for i, c := range h.count {
		if c > most {
			return fmt.Errorf("%d %s after %v: the limit is %d in %v", c, h.title, time.Duration(i)*h.width, h.limit, h.width)
		}
	}
	return nil
}

// even tells that the buckets differ by more than chance explains: Pearson's
// chi-square is above what one in a thousand random spreads reaches.
func (h *histogram) even() error {
	n, _ := h.total()
	if n == 0 {
		return errors.New("nothing came")
	}
	if got, most := h.chiSquare(), chiSquareBound(len(h.count)-1); got > most {
		return fmt.Errorf("%d %s are not evenly spread: chi-square is %.0f, above %.0f", n, h.title, got, most)
	}
	return nil
}

func (h *histogram) chiSquare() float64 {
	sum, mean := 0.0, h.mean()
	for _, c := range h.count {
		sum += (float64(c) - mean) * (float64(c) - mean) / mean
	}
	return sum
}

// chiSquareBound is the 99.9 % quantile, as Wilson and Hilferty approximate it.
func chiSquareBound(freedom int) float64 {
	const normal = 3.0902 // the same quantile of the normal distribution
	part := 2 / (9 * float64(freedom))
	return float64(freedom) * math.Pow(1-part+normal*math.Sqrt(part), 3)
}

const plotRows = 10 // in text, from nothing to the limit

// String draws the histogram with a column for each bucket.
func (h *histogram) String() string {
	n, most := h.total()
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %v: limit %d, most %d, mean %.1f; %d in all, the last after %v\n", h.title, h.width, h.limit, most, h.mean(), n, h.last.Round(time.Millisecond))
	for row := plotRows; row > 0; row-- {
		label, bar := "", byte(' ')
		switch row {
		case plotRows:
			label, bar = fmt.Sprint(h.limit), '-'
		case plotRows / 2:
			label = fmt.Sprint(h.limit / 2)
		}
		line := bytes.Repeat([]byte{bar}, len(h.count))
		for i, c := range h.count {
			if c*2*plotRows >= h.limit*(2*row-1) { // rounded
				line[i] = '#'
			}
		}
		fmt.Fprintf(&b, "%5s |%s\n", label, bytes.TrimRight(line, " "))
	}
	end := (time.Duration(len(h.count)) * h.width).String()
	fmt.Fprintf(&b, "    0 +%s\n       0%*s\n", strings.Repeat("-", len(h.count)), max(len(h.count)-1, len(end)+1), end)
	return b.String()
}

// image draws the histogram: bars, a grey line for the mean, a red one for the limit.
func (h *histogram) image() image.Image {
	const wide, high, margin = 800, 240, 12
	picture := image.NewRGBA(image.Rect(0, 0, wide, high))
	fill := func(x0, y0, x1, y1 int, c color.Color) {
		draw.Draw(picture, image.Rect(x0, y0, x1, y1), image.NewUniform(c), image.Point{}, draw.Src)
	}
	_, most := h.total()
	scale := float64(high-3*margin) / float64(max(h.limit, most))
	y := func(v float64) int { return high - margin - int(v*scale) }
	x := func(i int) int { return margin + i*(wide-2*margin)/len(h.count) }
	fill(0, 0, wide, high, color.White)
	for i, c := range h.count {
		fill(x(i), y(float64(c)), max(x(i)+1, x(i+1)-1), high-margin, color.RGBA{0x2f, 0x6f, 0xb0, 0xff})
	}
	line := func(v float64, c color.Color) { fill(margin, y(v)-1, wide-margin, y(v)+1, c) }
	line(0, color.Black)
	line(h.mean(), color.Gray{0x90})
	line(float64(h.limit), color.RGBA{0xc0, 0x20, 0x20, 0xff})
	return picture
}

// writePlot draws the histograms below each other into a file of docs.
func writePlot(t *testing.T, name string, all ...*histogram) {
	t.Helper()
	var page *image.RGBA
	for i, h := range all {
		part := h.image()
		size := part.Bounds()
		if page == nil {
			page = image.NewRGBA(image.Rect(0, 0, size.Dx(), size.Dy()*len(all)))
		}
		draw.Draw(page, size.Add(image.Pt(0, i*size.Dy())), part, image.Point{}, draw.Src)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, page); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("../../docs/"+name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The judges can say no.
func TestHistogram(t *testing.T) {
	t.Parallel()
	begin := time.Unix(0, 0)
	at := func(place func(i int) time.Duration) *histogram {
		var list []time.Time
		for i := range 600 {
			list = append(list, begin.Add(place(i)))
		}
		return newHistogram("requests", begin, time.Minute, time.Second, 20, list)
	}
	for _, c := range []struct {
		name          string
		place         func(i int) time.Duration
		within, evens bool
	}{
		{"one after the other", func(i int) time.Duration { return time.Duration(i) * 100 * time.Millisecond }, true, true},
		{"all at once", func(int) time.Duration { return 0 }, false, false},
		{"in half of the time", func(i int) time.Duration { return time.Duration(i) * 50 * time.Millisecond }, true, false},
		{"one in five at the end", func(i int) time.Duration {
			return min(time.Duration(i)*125*time.Millisecond, time.Minute-1)
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := at(c.place)
			if limit, even := h.withinLimit(0), h.even(); (limit == nil) != c.within || (even == nil) != c.evens {
				t.Errorf("limit: %v, even: %v\n%s", limit, even, h)
			}
		})
	}
}

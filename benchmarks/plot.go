package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours can be told apart by those who don't see all of them (Okabe and Ito), and stand out from white.
var colours = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {86, 180, 233, 255}, {230, 159, 0, 255}, {90, 90, 90, 255},
}

var (
	ink  = color.RGBA{40, 40, 40, 255}
	pale = color.RGBA{225, 225, 225, 255}
)

const (
	panelWidth  = 13 * vg.Centimeter
	panelHeight = 9.5 * vg.Centimeter
	margin      = 0.5 * vg.Centimeter
	headHeight  = 1.5 * vg.Centimeter
)

// draw writes the picture: the title and the machine over the panels, two in a row.
func (g growth) draw(r *record, file string) error {
	across := min(len(g.panels), 2)
	down := (len(g.panels) + across - 1) / across
	width, height := margin+vg.Length(across)*panelWidth, headHeight+vg.Length(down)*panelHeight
	canvas := vgsvg.New(width, height)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Path())

	write := func(s string, size, y vg.Length, c color.Color) {
		style := text.Style{Color: c, Font: font.From(plot.DefaultFont, size), YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
		style.Font.Variant = "Sans"
		whole.FillText(style, vg.Point{X: margin, Y: height - y}, s)
	}
	write(g.title, 15, 0.55*vg.Centimeter, ink)
	write(r.machine, 9, 1.1*vg.Centimeter, color.RGBA{110, 110, 110, 255})

	for i, p := range g.panels {
		diagram, err := p.plot(r.points)
		if err != nil {
			return fmt.Errorf("%s: %w", p.title, err)
		}
		left, top := margin/2+vg.Length(i%across)*panelWidth, height-headHeight-vg.Length(i/across)*panelHeight
		diagram.Draw(draw.Canvas{Canvas: canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: left, Y: top - panelHeight + margin/2},
			Max: vg.Point{X: left + panelWidth - margin, Y: top - margin/4},
		}})
	}
	f, err := os.Create(filepath.Clean(file))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := canvas.WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

func (p panel) plot(points []point) (*plot.Plot, error) {
	d := plot.New()
	d.Title.Text, d.X.Label.Text, d.Y.Label.Text = p.title, p.x, p.y
	for _, style := range []*text.Style{&d.Title.TextStyle, &d.X.Label.TextStyle, &d.Y.Label.TextStyle, &d.X.Tick.Label, &d.Y.Tick.Label, &d.Legend.TextStyle} {
		style.Font.Variant, style.Font.Size, style.Color = "Sans", 9, ink
	}
	d.Title.TextStyle.Font.Size, d.Title.Padding = 11, 6
	d.X.Label.Padding, d.Y.Label.Padding = 3, 3
	d.X.Scale, d.X.Tick.Marker = plot.LogScale{}, decades{}
	d.Y.Scale, d.Y.Tick.Marker = plot.LogScale{}, decades{}
	if p.kibibytes {
		d.X.Tick.Marker = kibibytes{}
	}
	if p.linear {
		d.Y.Scale, d.Y.Tick.Marker = plot.LinearScale{}, thousandsTicks{}
	}
	for _, axis := range []*plot.Axis{&d.X, &d.Y} {
		axis.Color, axis.Tick.Color = color.RGBA{150, 150, 150, 255}, color.RGBA{150, 150, 150, 255}
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = pale, pale
	d.Add(grid)

	names, of := lines(points, p.title)
	least, most := math.Inf(1), math.Inf(-1)
	for i, name := range names {
		line, dots, err := plotter.NewLinePoints(xys(of[name]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line.Color, line.Width = colours[i%len(colours)], 1.6
		if i >= len(colours) {
			line.Dashes = []vg.Length{4, 3}
		}
		dots.Shape, dots.Color, dots.Radius = draw.CircleGlyph{}, line.Color, 2.2
		d.Add(line, dots)
		d.Legend.Add(name, line, dots)
		for _, p := range of[name] {
			least, most = min(least, p.y), max(most, p.y)
		}
	}
	// The legend stands over the lines, in room that is made for it.
	d.Legend.Top, d.Legend.Left, d.Legend.XOffs, d.Legend.YOffs = true, true, 6, -4
	d.Legend.Padding, d.Legend.ThumbnailWidth = 1.5, 18
	room := 0.05 + 0.065*float64(len(names)) // of the diagram's height
	if p.linear {
		d.Y.Min, d.Y.Max = 0, most/(1-room)
	} else {
		low, high := math.Log10(least), math.Log10(most)
		high = max(high, low+1)
		d.Y.Min, d.Y.Max = math.Pow(10, low-0.05*(high-low)), math.Pow(10, low+(high-low)/(1-room))
	}
	return d, nil
}

func xys(line []point) plotter.XYs {
	all := make(plotter.XYs, len(line))
	for i, p := range line {
		all[i] = plotter.XY{X: p.x, Y: p.y}
	}
	return all
}

// kibibytes are ticks at every fourth power of two, for sizes of bodies.
type kibibytes struct{}

func (kibibytes) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for size := 1024.0; size <= most*1.001; size *= 2 {
		tick := plot.Tick{Value: size}
		if math.Mod(math.Log2(size), 2) == 0 {
			tick.Label = fmt.Sprintf("%.0f KiB", size/1024)
		}
		if size == 1<<20 {
			tick.Label = "1 MiB"
		}
		if size >= least*0.999 {
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// decades are ticks at the powers of ten, and without a text at their multiples. Where there are less than two powers, 2 and 5 have one.
type decades struct{}

func (decades) Ticks(least, most float64) []plot.Tick {
	few := math.Log10(most/least) < 1.5
	var ticks []plot.Tick
	for power := math.Pow(10, math.Floor(math.Log10(least))); power <= most; power *= 10 {
		for times := 1.0; times < 10; times++ {
			value := power * times
			if value < least*0.999 || value > most*1.001 {
				continue
			}
			tick := plot.Tick{Value: value}
			if times == 1 || few && (times == 2 || times == 5) {
				tick.Label = number(value)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

type thousandsTicks struct{}

func (thousandsTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i, t := range ticks {
		if !t.IsMinor() {
			ticks[i].Label = number(t.Value)
		}
	}
	return ticks
}

// number writes 1500000 as "1.5 M".
func number(f float64) string {
	for _, unit := range []struct {
		of     float64
		suffix string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if math.Abs(f) >= unit.of*0.9999 {
			return fmt.Sprintf("%.3g%s", f/unit.of, unit.suffix)
		}
	}
	return fmt.Sprintf("%.3g", f)
}

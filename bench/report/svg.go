package report

import (
	"fmt"
	"math"
	"strings"
)

// Chart is a picture of bars, in panels one below the other.
type Chart struct {
	File   string // its name in docs/performance
	Title  string
	Unit   string // of the values; empty for ratios
	Panels []Panel
}

// Panel has a group of bars for each of Groups, one bar in it for each of Series.
type Panel struct {
	Title  string
	Groups []string
	Series []Series
}

// Series is one contender. A value below 0 was not measured.
type Series struct {
	Name   string
	Values []float64
}

// Measures of a chart in pixels.
const (
	width, left, right = 840, 150, 64
	bar, gap, groupGap = 15, 3, 16
	top, titled        = 34, 30
)

// Colours that can be told apart on white and on black: grey for the baseline, blue for ours. Names are beside the bars, for those who
// see no colours.
var colours = []string{"#8b949e", "#2f81f7", "#6cb0ff", "#1b9aaa", "#e3832b", "#d1495b", "#c9a227", "#9a6de0", "#2da44e"}

// SVG draws the chart: horizontal bars with their names and values written out, on no background, in a grey that reads on white and
// on black.
func (c Chart) SVG() string {
	var body strings.Builder
	y := top
	for _, panel := range c.Panels {
		y = c.panel(&body, panel, y)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n", width, y, width, y, escape(c.Title))
	out.WriteString(`<style>text{font:12px -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#6e7781}.t{font-size:15px;font-weight:600}.p{font-weight:600}` +
		`@media (prefers-color-scheme:dark){text{fill:#9198a1}}</style>` + "\n")
	fmt.Fprintf(&out, `<text class="t" x="8" y="22">%s</text>`+"\n", escape(c.Title))
	out.WriteString(body.String())
	out.WriteString("</svg>\n")
	return out.String()
}

func (c Chart) panel(out *strings.Builder, panel Panel, y int) int {
	most := 0.0
	for _, series := range panel.Series {
		for _, value := range series.Values {
			most = max(most, value)
		}
	}
	if most == 0 {
		most = 1
	}
	fmt.Fprintf(out, `<text class="p" x="8" y="%d">%s</text>`+"\n", y+18, escape(panel.Title))
	y += titled
	begin := y
	for g, group := range panel.Groups {
		fmt.Fprintf(out, `<text x="8" y="%d">%s</text>`+"\n", y+bar-3, escape(group))
		for s, series := range panel.Series {
			if g >= len(series.Values) || series.Values[g] < 0 {
				continue
			}
			value := series.Values[g]
			long := value / most * float64(width-left-right-110)
			fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left+104, y+bar-3, escape(series.Name))
			fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`, left+110, y, math.Max(long, 1), bar, colours[s%len(colours)])
			fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(left+110)+long+5, y+bar-3, escape(c.value(value)))
			y += bar + gap
		}
		y += groupGap
	}
	if c.Unit == "" && most >= 1 { // the line of the baseline
		x := float64(left+110) + 1/most*float64(width-left-right-110)
		fmt.Fprintf(out, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#8b949e" stroke-dasharray="3 3"/>`+"\n", x, begin-4, x, y-groupGap+4)
	}
	return y
}

func (c Chart) value(value float64) string {
	if c.Unit == "" {
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.1f %s", value, c.Unit)
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}

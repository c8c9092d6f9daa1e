// The map's projection, the same when the land is drawn at build time and when places are put on it.
import { geoNaturalEarth1 } from "d3-geo";

export const WIDTH = 960;
export const HEIGHT = 448;
export const projection = geoNaturalEarth1().scale(184).translate([474, 262]);

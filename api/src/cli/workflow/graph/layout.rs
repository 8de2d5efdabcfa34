//! Places boxes in layers, the way Sugiyama, Tagawa and Toda described it in 1981: each box below
//! everything that it comes after, few crossings, short edges. The same graph always looks the same.

/// Space between boxes of a layer.
const GAP_X: f64 = 28.0;
/// Space between an edge that passes a layer and its neighbours.
const GAP_EDGE: f64 = 18.0;
/// Space between layers.
const GAP_Y: f64 = 44.0;
/// Space between the ends of edges at a box.
const GAP_PORT: f64 = 14.0;
/// Rounds in which layers are sorted and moved; nothing changes any more long before.
const ROUNDS: usize = 24;
/// Boxes, and edges in each layer that they pass, that a picture may have.
const VERTICES: usize = 20_000;

/// Width and height of a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// Upper left corner of each box.
    pub(super) boxes: Vec<Point>,
    /// Per edge, the points that it goes through, two in each layer: it is straight between those,
    /// and bends between the layers.
    pub(super) edges: Vec<Vec<Point>>,
    pub(super) size: Size,
}

/// Places boxes and edges; `None` if there are too many. Edges lead from lower numbers to higher
/// ones.
pub(super) fn place(sizes: &[Size], edges: &[(usize, usize)]) -> Option<Placed> {
    let mut layers = Layers::new(sizes, edges)?;
    layers.sort();
    layers.spread();
    Some(layers.finish(sizes, edges))
}

/// A box, or an edge where it passes a layer.
#[derive(Debug, Clone)]
struct Vertex {
    layer: usize,
    width: f64,
    height: f64,
    /// Its centre.
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
    is_box: bool,
}

struct Layers {
    /// Boxes first.
    vertices: Vec<Vertex>,
    /// Vertices of each layer from left to right.
    layers: Vec<Vec<usize>>,
    /// Per edge, its vertices from one end to the other.
    ways: Vec<Vec<usize>>,
}

impl Layers {
    fn new(sizes: &[Size], edges: &[(usize, usize)]) -> Option<Self> {
        let mut layer_of = vec![0; sizes.len()];
        for (to, _) in sizes.iter().enumerate() {
            let above = edges.iter().filter(|edge| edge.1 == to);
            layer_of[to] = above
                .map(|(from, _)| layer_of[*from] + 1)
                .max()
                .unwrap_or(0);
        }
        let boxes = sizes.iter().zip(&layer_of);
        let mut layers = Self {
            vertices: boxes
                .map(|(size, layer)| Vertex::new(*layer, Some(*size)))
                .collect(),
            layers: Vec::new(),
            ways: Vec::new(),
        };
        for edge in edges {
            layers.add_edge(*edge)?;
        }
        let depth = layer_of.iter().max().map_or(0, |deepest| deepest + 1);
        layers.layers = vec![Vec::new(); depth];
        for (at, vertex) in layers.vertices.iter().enumerate() {
            layers.layers[vertex.layer].push(at);
        }
        Some(layers)
    }

    fn add_edge(&mut self, (from, to): (usize, usize)) -> Option<()> {
        let mut way = vec![from];
        for layer in self.vertices[from].layer + 1..self.vertices[to].layer {
            way.push(self.vertices.len());
            self.vertices.push(Vertex::new(layer, None));
        }
        way.push(to);
        for pair in way.windows(2) {
            self.vertices[pair[0]].below.push(pair[1]);
            self.vertices[pair[1]].above.push(pair[0]);
        }
        self.ways.push(way);
        (self.vertices.len() <= VERTICES).then_some(())
    }

    /// Sorts each layer by the middle of its neighbours, down and up in turn, and keeps the order
    /// with the fewest crossings.
    fn sort(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for round in 0..ROUNDS {
            let downwards = round % 2 == 0;
            for step in 1..self.layers.len() {
                let layer = if downwards {
                    step
                } else {
                    self.layers.len() - 1 - step
                };
                self.sort_layer(layer, downwards);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    fn sort_layer(&mut self, layer: usize, downwards: bool) {
        let places = self.places();
        let middle = |vertex: usize| {
            let neighbours = self.vertices[vertex].neighbours(downwards);
            let sum: f64 = neighbours.iter().map(|other| places[*other]).sum();
            match neighbours.len() {
                0 => places[vertex],
                // No graph has so many that precision is lost.
                count => sum / count as f64,
            }
        };
        let mut sorted: Vec<(f64, usize)> = self.layers[layer]
            .iter()
            .map(|vertex| (middle(*vertex), *vertex))
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[layer] = sorted.into_iter().map(|(_, vertex)| vertex).collect();
    }

    /// The place of each vertex in its layer.
    fn places(&self) -> Vec<f64> {
        let mut places = vec![0.0; self.vertices.len()];
        for layer in &self.layers {
            // A layer's middle is comparable between layers, its left end is not.
            let half = layer.len() as f64 / 2.0;
            for (place, vertex) in layer.iter().enumerate() {
                places[*vertex] = place as f64 - half;
            }
        }
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let pairs = self.layers.iter().map(|layer| {
            let mut ends: Vec<(f64, f64)> = layer
                .iter()
                .flat_map(|from| {
                    let below = self.vertices[*from].below.iter();
                    below.map(|to| (places[*from], places[*to]))
                })
                .collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            inversions(&ends.iter().map(|end| end.1).collect::<Vec<_>>())
        });
        pairs.sum()
    }

    /// Gives every vertex its place from left to right: as near to its neighbours as the others of
    /// its layer let it.
    fn spread(&mut self) {
        for layer in 0..self.layers.len() {
            self.move_layer(layer, |at, all| all[at].x);
        }
        for round in 0..ROUNDS {
            let downwards = round % 2 == 0;
            for step in 0..self.layers.len() {
                let layer = if downwards {
                    step
                } else {
                    self.layers.len() - 1 - step
                };
                self.move_layer(layer, |at, all| {
                    all[at].middle(all, all[at].neighbours(downwards))
                });
            }
        }
        for _ in 0..ROUNDS {
            self.straighten();
        }
    }

    /// Moves long edges towards the middle of their way, and boxes towards that of all neighbours.
    fn straighten(&mut self) {
        let mut middles: Vec<f64> = self.vertices.iter().map(|vertex| vertex.x).collect();
        for way in &self.ways {
            let passing = &way[1..way.len() - 1];
            let sum: f64 = passing.iter().map(|at| self.vertices[*at].x).sum();
            for at in passing {
                middles[*at] = sum / passing.len() as f64;
            }
        }
        for (at, vertex) in self.vertices.iter().enumerate() {
            if vertex.is_box {
                let both: Vec<_> = vertex.above.iter().chain(&vertex.below).copied().collect();
                middles[at] = vertex.middle(&self.vertices, &both);
            }
        }
        for layer in 0..self.layers.len() {
            self.move_layer(layer, |at, _| middles[at]);
        }
    }

    fn move_layer(&mut self, layer: usize, wish: impl Fn(usize, &[Vertex]) -> f64) {
        let layer = &self.layers[layer];
        let vertices: Vec<&Vertex> = layer.iter().map(|at| &self.vertices[*at]).collect();
        let wishes: Vec<f64> = layer.iter().map(|at| wish(*at, &self.vertices)).collect();
        let gaps: Vec<f64> = vertices
            .windows(2)
            .map(|pair| pair[0].distance_to(pair[1]))
            .collect();
        let xs = separated(&wishes, &gaps);
        for (vertex, x) in layer.clone().into_iter().zip(xs) {
            self.vertices[vertex].x = x;
        }
    }

    fn finish(self, sizes: &[Size], edges: &[(usize, usize)]) -> Placed {
        let left = |vertex: &Vertex| vertex.x - vertex.width / 2.0;
        let shift = self.vertices.iter().map(left).fold(f64::INFINITY, f64::min);
        let right = self
            .vertices
            .iter()
            .map(|vertex| vertex.x + vertex.width / 2.0);
        let width = right.fold(0.0, f64::max) - shift.min(0.0);
        let (mut tops, mut top) = (Vec::new(), 0.0);
        for layer in &self.layers {
            let heights = layer.iter().map(|at| self.vertices[*at].height);
            let height = heights.fold(0.0, f64::max);
            tops.push((top, height));
            top += height + GAP_Y;
        }
        let grid = Grid {
            layers: &self,
            tops,
            shift,
        };
        let boxes = sizes.iter().enumerate();
        Placed {
            boxes: boxes.map(|(at, size)| grid.corner(at, *size)).collect(),
            edges: (0..edges.len()).map(|edge| grid.way(edge)).collect(),
            size: Size {
                width: width - shift.max(0.0),
                height: (top - GAP_Y).max(0.0),
            },
        }
    }
}

impl Vertex {
    fn new(layer: usize, size: Option<Size>) -> Self {
        Self {
            layer,
            width: size.map_or(0.0, |size| size.width),
            height: size.map_or(0.0, |size| size.height),
            x: 0.0,
            above: Vec::new(),
            below: Vec::new(),
            is_box: size.is_some(),
        }
    }

    fn neighbours(&self, above: bool) -> &[usize] {
        if above { &self.above } else { &self.below }
    }

    fn middle(&self, all: &[Vertex], neighbours: &[usize]) -> f64 {
        let sum: f64 = neighbours.iter().map(|other| all[*other].x).sum();
        match neighbours.len() {
            0 => self.x,
            count => sum / count as f64,
        }
    }

    /// How far the centre of its right neighbour has to be at least.
    fn distance_to(&self, right: &Self) -> f64 {
        let gap = if self.is_box && right.is_box {
            GAP_X
        } else {
            GAP_EDGE
        };
        f64::midpoint(self.width, right.width) + gap
    }
}

/// Layers with their heights: turns places into points.
struct Grid<'a> {
    layers: &'a Layers,
    /// Top and height of each layer.
    tops: Vec<(f64, f64)>,
    shift: f64,
}

impl Grid<'_> {
    fn corner(&self, at: usize, size: Size) -> Point {
        let vertex = &self.layers.vertices[at];
        let (top, _) = self.tops[vertex.layer];
        Point {
            x: vertex.x - size.width / 2.0 - self.shift,
            y: top,
        }
    }

    /// Straight through each layer, beginning and ending at the boxes themselves.
    fn way(&self, edge: usize) -> Vec<Point> {
        let way = &self.layers.ways[edge];
        let last = way.len() - 1;
        let mut points = Vec::with_capacity(2 * way.len());
        for (at, vertex) in way.iter().enumerate() {
            let (top, height) = self.tops[self.layers.vertices[*vertex].layer];
            let box_height = self.layers.vertices[*vertex].height;
            let (from, to) = match at {
                0 => (top + box_height, top + height),
                _ if at == last => (top, top),
                _ => (top, top + height),
            };
            let x = if at == last {
                self.port(*vertex, way[at - 1], true)
            } else {
                self.port(*vertex, way[at + 1], false)
            };
            points.extend([from, to].map(|y| Point { x, y }));
        }
        points
    }

    /// Where at a box the edge to one of its neighbours ends: side by side, in their order.
    fn port(&self, at: usize, neighbour: usize, above: bool) -> f64 {
        let vertices = &self.layers.vertices;
        let vertex = &vertices[at];
        let others = vertex.neighbours(above);
        let count = others.len() as f64;
        let x = vertices[neighbour].x;
        let left = others
            .iter()
            .filter(|other| {
                let order = vertices[**other].x.total_cmp(&x);
                order.then((**other).cmp(&neighbour)).is_lt()
            })
            .count();
        let gap = GAP_PORT.min(vertex.width * 0.8 / count);
        vertex.x - self.shift + (left as f64 - (count - 1.0) / 2.0) * gap
    }
}

/// The numbers nearest to the wished ones (by least squares) that keep their order and a distance
/// of `gaps` each: neighbours that get too near move as one block from then on.
fn separated(wishes: &[f64], gaps: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = vec![0.0];
    offsets.extend(gaps.iter().map(|gap| {
        offset += gap;
        offset
    }));
    // Blocks as sum and count of what their members wish for, offsets taken away.
    let mut blocks: Vec<(f64, f64)> = Vec::new();
    for (wish, offset) in wishes.iter().zip(&offsets) {
        let mut block = (wish - offset, 1.0);
        while let Some(last) = blocks.last()
            && last.0 / last.1 >= block.0 / block.1
        {
            block = (block.0 + last.0, block.1 + last.1);
            blocks.pop();
        }
        blocks.push(block);
    }
    let mut offsets = offsets.into_iter();
    let mut xs = Vec::with_capacity(wishes.len());
    for (sum, count) in blocks {
        // Counts are whole and small.
        xs.extend(
            offsets
                .by_ref()
                .take(count as usize)
                .map(|offset| sum / count + offset),
        );
    }
    xs
}

/// How many pairs stand in the wrong order.
fn inversions(numbers: &[f64]) -> usize {
    if numbers.len() < 2 {
        return 0;
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let inside = inversions(left) + inversions(right);
    let sorted = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part
    };
    let (left, right) = (sorted(left), sorted(right));
    let mut smaller = 0;
    let across = left.iter().map(|number| {
        while right.get(smaller).is_some_and(|other| other < number) {
            smaller += 1;
        }
        smaller
    });
    inside + across.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOX: Size = Size {
        width: 100.0,
        height: 40.0,
    };

    #[test]
    fn crossings_are_counted() {
        assert_eq!(inversions(&[1.0, 2.0, 3.0]), 0);
        assert_eq!(inversions(&[3.0, 2.0, 1.0]), 3);
        assert_eq!(inversions(&[1.0, 1.0, 0.0, 2.0]), 2);
    }

    #[test]
    fn what_gets_too_near_moves_apart_as_little_as_possible() {
        assert_eq!(separated(&[0.0, 0.0], &[10.0]), [-5.0, 5.0]);
        assert_eq!(separated(&[0.0, 20.0], &[10.0]), [0.0, 20.0]);
        assert_eq!(separated(&[0.0, 1.0, 50.0], &[3.0, 3.0]), [-1.0, 2.0, 50.0]);
    }

    #[test]
    fn a_diamond_crosses_nothing_and_is_centred() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3)];
        let placed = place(&[BOX; 4], &edges).unwrap();
        assert_eq!(placed.boxes[0].x, placed.boxes[3].x);
        assert_eq!(placed.boxes[1].y, placed.boxes[2].y);
        assert!(placed.boxes[1].x + BOX.width < placed.boxes[2].x);
    }

    #[test]
    fn a_graph_beyond_the_limit_is_not_drawn() {
        let chain = 400;
        let mut edges: Vec<_> = (1..chain).map(|at| (at - 1, at)).collect();
        edges.extend((0..100).map(|at| (at, chain - 1)));
        assert_eq!(place(&vec![BOX; chain], &edges), None);
    }

    proptest! {
        #[test]
        fn boxes_never_overlap_and_edges_lead_down(
            edges in prop::collection::btree_set((0_usize..12, 0_usize..12), 0..30)
        ) {
            let edges: Vec<_> = edges.into_iter().filter(|(from, to)| from < to).collect();
            let placed = place(&[BOX; 12], &edges).unwrap();
            prop_assert_eq!(&placed, &place(&[BOX; 12], &edges).unwrap());
            for (at, one) in placed.boxes.iter().enumerate() {
                prop_assert!(one.x > -0.01 && one.x + BOX.width < placed.size.width + 0.01);
                prop_assert!(one.y >= 0.0 && one.y + BOX.height <= placed.size.height);
                for other in &placed.boxes[..at] {
                    let apart = (one.x - other.x).abs() >= BOX.width || one.y != other.y;
                    prop_assert!(apart, "{:?} {:?}", one, other);
                }
            }
            for points in &placed.edges {
                prop_assert_eq!(points.len() % 2, 0);
                prop_assert!(points.windows(2).all(|pair| pair[0].y <= pair[1].y));
            }
        }
    }
}

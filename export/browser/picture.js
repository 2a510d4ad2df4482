// The camera's picture, cast ray by ray. Scenes are a handful of primitive shapes seen from above
// without shadows, so the planner's image needs no OpenGL, which differs between machines.
// It follows sim/rendering.py: twice the wanted size, no antialiasing, then the mean of 2x2 pixels.
// What the check compares with MuJoCo's own renderer are these images.

const PLANE = 0, SPHERE = 2, CAPSULE = 3, ELLIPSOID = 4, CYLINDER = 5, BOX = 6; // mjtGeom
const SHOWN_GROUPS = 3; // MuJoCo draws groups 0 to 2 unless told otherwise
const SLICES = 28; // corners of a round shape in MuJoCo's renderer
// Where an edge runs exactly through a pixel's centre, OpenGL gives the pixel to one side only.
const EDGE = 1e-7;
const SPOT = 0, DIRECTIONAL = 1; // mjtLightType

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const minus = (a, b) => a.map((x, i) => x - b[i]);
const unit = (a) => a.map((x) => x / Math.hypot(...a));
// Row-major 3x3 matrices as MuJoCo stores them: columns are the axes of the local frame.
const turn = (m, v) => [0, 3, 6].map((i) => m[i] * v[0] + m[i + 1] * v[1] + m[i + 2] * v[2]);
const turnBack = (m, v) => [0, 1, 2].map((i) => m[i] * v[0] + m[i + 3] * v[1] + m[i + 6] * v[2]);
const row = (array, i, n) => Array.from(array.subarray(i * n, i * n + n));

/** Half extents [m] of the smallest box around a shape, in its own frame. */
function extents(type, [a, b, c]) {
  if (type === SPHERE) return [a, a, a];
  if (type === CYLINDER) return [a, a, b];
  if (type === CAPSULE) return [a, a, a + b];
  if (type === PLANE) return [a, b, 0];
  return [a, b, c];
}

/** Faces [normal, distance] of a shape that is flat all around: a box, a cylinder as drawn. */
function faces(type, [a, b, c]) {
  const caps = (h) => [[[0, 0, 1], h], [[0, 0, -1], h]];
  if (type === BOX) {
    return [[[1, 0, 0], a], [[-1, 0, 0], a], [[0, 1, 0], b], [[0, -1, 0], b], ...caps(c)];
  }
  const sides = Array.from({ length: SLICES }, (_, i) => ((2 * i + 1) * Math.PI) / SLICES);
  const inner = a * Math.cos(Math.PI / SLICES);
  return [...sides.map((s) => [[Math.cos(s), Math.sin(s), 0], inner]), ...caps(b)];
}

/** Where the ray o + t d enters a convex solid: [t, normal], or null. */
function enterSolid(planes, o, d) {
  let near = -Infinity, far = Infinity, normal = null;
  for (const [n, distance] of planes) {
    const speed = dot(n, d), gap = distance - dot(n, o);
    if (speed === 0) {
      if (gap < 0) return null;
    } else if (speed < 0) {
      if (gap / speed > near) [near, normal] = [gap / speed, n];
    } else far = Math.min(far, gap / speed);
    if (near > far) return null;
  }
  return [near, normal];
}

/** Where the ray enters the ellipsoid of these radii around the origin: [t, normal], or null. */
function enterBall(radii, o, d) {
  const p = o.map((x, i) => x / radii[i]), q = d.map((x, i) => x / radii[i]);
  const a = dot(q, q), b = dot(p, q), root = b * b - a * (dot(p, p) - 1);
  if (root < 0) return null;
  const t = (-b - Math.sqrt(root)) / a;
  return [t, unit(p.map((x, i) => (x + t * q[i]) / radii[i]))];
}

/** Where the ray enters a capsule along z: its tube or, beyond the ends, a ball. */
function enterCapsule([r, half], o, d) {
  const a = d[0] ** 2 + d[1] ** 2, b = o[0] * d[0] + o[1] * d[1];
  const root = b * b - a * (o[0] ** 2 + o[1] ** 2 - r * r);
  if (root < 0) return null;
  const t = (-b - Math.sqrt(root)) / a, z = o[2] + t * d[2];
  if (a > 0 && Math.abs(z) <= half) return [t, [(o[0] + t * d[0]) / r, (o[1] + t * d[1]) / r, 0]];
  const end = (a > 0 ? z : -d[2]) > 0 ? half : -half;
  return enterBall([r, r, r], [o[0], o[1], o[2] - end], d);
}

function enterPlane([a, b], o, d) {
  const t = -o[2] / d[2];
  const inside = Math.abs(o[0] + t * d[0]) <= a && Math.abs(o[1] + t * d[1]) <= b;
  return t > 0 && inside ? [t, [0, 0, 1]] : null;
}

/** A shape's test function of a local ray. */
function entry(type, size) {
  if (type === PLANE) return (o, d) => enterPlane(size, o, d);
  if (type === SPHERE || type === ELLIPSOID) {
    const radii = extents(type, size);
    return (o, d) => enterBall(radii, o, d);
  }
  if (type === CAPSULE) return (o, d) => enterCapsule(size, o, d);
  if (type !== BOX && type !== CYLINDER) throw new Error(`no picture of geoms of type ${type}`);
  const planes = faces(type, size);
  return (o, d) => enterSolid(planes, o, d);
}

/**
 * Colour [0, 1] of a plane's material at a local point: texels blended, repeated without end.
 * Flags cannot be read from this build of MuJoCo: images are taken to repeat by size
 * (`texuniform`), and every light to be on.
 */
function texture(model, geom, size) {
  const material = model.geom_matid[geom];
  // Images of a material come by role; the second is the colour (mjTEXROLE_RGB).
  const id = material < 0 ? -1 : model.mat_texid[material * (model.mat_texid.length / model.nmat) + 1];
  if (id < 0) return null;
  const width = model.tex_width[id], height = model.tex_height[id];
  const channels = model.tex_nchannel[id], start = Number(model.tex_adr[id]);
  // A copy: what MuJoCo hands out is only valid until its memory grows.
  const data = model.tex_data.slice(start, start + width * height * channels);
  const scale = [0, 1].map((i) => model.mat_texrepeat[2 * material + i] * size[i]);
  const texel = (x, y, c) => {
    const at = ((y % height + height) % height) * width + (x % width + width) % width;
    return data[at * channels + c] / 255;
  };
  return (p) => {
    const u = ((p[0] / size[0] + 1) / 2) * scale[0] * width - 0.5;
    const v = ((1 - p[1] / size[1]) / 2) * scale[1] * height - 0.5;
    const x = Math.floor(u), y = Math.floor(v), fx = u - x, fy = v - y;
    return [0, 1, 2].map((c) =>
      (1 - fy) * ((1 - fx) * texel(x, y, c) + fx * texel(x + 1, y, c)) +
      fy * ((1 - fx) * texel(x, y + 1, c) + fx * texel(x + 1, y + 1, c)));
  };
}

/** Lights of the scene and the one on the camera's forehead, which shines along its axis. */
function lights(model, data, { eye, forward }) {
  const head = model.vis.headlight, found = [];
  if (head.active) {
    found.push({
      ambient: Array.from(head.ambient), diffuse: Array.from(head.diffuse),
      specular: Array.from(head.specular), at: eye, along: forward, kind: DIRECTIONAL,
    });
  }
  for (let i = 0; i < model.nlight; i++) {
    found.push({
      ambient: row(model.light_ambient, i, 3), diffuse: row(model.light_diffuse, i, 3),
      specular: row(model.light_specular, i, 3), at: row(data.light_xpos, i, 3),
      along: row(data.light_xdir, i, 3), kind: model.light_type[i],
      cutoff: Math.cos((model.light_cutoff[i] * Math.PI) / 180), exponent: model.light_exponent[i],
    });
  }
  return found;
}

/** Light [3] that a surface of this colour sends back towards the eye (Blinn, as OpenGL does). */
function shade(lamps, { rgb, gloss, shininess }, point, normal, toEye) {
  const sum = [0, 0, 0];
  for (const lamp of lamps) {
    const to = lamp.kind === DIRECTIONAL
      ? lamp.along.map((x) => -x) : unit(minus(lamp.at, point));
    const facing = Math.max(dot(normal, to), 0), beam = -dot(to, lamp.along);
    const spot = lamp.kind !== SPOT ? 1 : beam < lamp.cutoff ? 0 : beam ** lamp.exponent;
    const half = facing > 0 ? Math.max(dot(normal, unit(to.map((x, i) => x + toEye[i]))), 0) : 0;
    const glint = facing > 0 ? gloss * half ** shininess : 0;
    for (let c = 0; c < 3; c++) {
      sum[c] += spot * ((lamp.ambient[c] + lamp.diffuse[c] * facing) * rgb[c] + lamp.specular[c] * glint);
    }
  }
  return sum.map((x) => Math.min(x, 1));
}

/** Everything about the shapes that does not move, made once per model. */
function shapes(model) {
  const found = [];
  for (let i = 0; i < model.ngeom; i++) {
    const material = model.geom_matid[i], rgba = row(model.geom_rgba, i, 4);
    if (model.geom_group[i] >= SHOWN_GROUPS || rgba[3] === 0) continue;
    const type = model.geom_type[i], size = row(model.geom_size, i, 3);
    found.push({
      id: i, body: model.geom_bodyid[i],
      rgb: material < 0 ? rgba.slice(0, 3) : row(model.mat_rgba, material, 4).slice(0, 3),
      gloss: material < 0 ? 0.5 : model.mat_specular[material],
      shininess: 128 * (material < 0 ? 0.5 : model.mat_shininess[material]),
      extent: extents(type, size), enter: entry(type, size), paint: texture(model, i, size),
    });
  }
  return found;
}

/** Camera number `id`: where it stands and the ray through a point of its picture, both in [-1, 1]. */
function lens(model, data, id) {
  const eye = row(data.cam_xpos, id, 3), axes = row(data.cam_xmat, id, 9);
  const fovy = model.cam_fovy[id], flat = model.cam_projection[id] === 1;
  const reach = flat ? fovy / 2 : Math.tan((fovy * Math.PI) / 360);
  return {
    eye, forward: turn(axes, [0, 0, -1]),
    ray: (x, y) => {
      const side = turn(axes, [x * reach, y * reach, flat ? 0 : -1]);
      return flat ? [eye.map((e, i) => e + side[i]), turn(axes, [0, 0, -1])] : [eye, side];
    },
    project: (point) => {
      const p = turnBack(axes, minus(point, eye));
      return flat ? [p[0] / reach, p[1] / reach] : [p[0] / (-p[2] * reach), p[1] / (-p[2] * reach)];
    },
  };
}

/** The pictures of one model: what cannot move is drawn once. */
export class Picture {
  /** `size`: side of the picture [px]; `data` must have been brought up to date (mj_forward). */
  constructor(model, data, size, camera = 0) {
    this.size = size;
    this.view = lens(model, data, camera);
    this.lamps = lights(model, data, this.view);
    const all = shapes(model);
    this.moving = all.filter((shape) => model.body_weldid[shape.body] !== 0);
    this.back = this.blank();
    for (const shape of all) if (!this.moving.includes(shape)) this.cast(shape, data, this.back);
  }

  blank() {
    const pixels = 4 * this.size ** 2;
    return {
      depth: new Float64Array(pixels).fill(Infinity), // along the ray, in its own unit
      rgb: new Uint8ClampedArray(3 * pixels),
      body: new Int32Array(pixels), // what is seen there
    };
  }

  /** Square RGB picture of the present state, uint8 [size * size * 3], rows from the top. */
  draw(data) {
    const { depth, rgb, body } = this.back;
    this.film = { depth: depth.slice(), rgb: rgb.slice(), body: body.slice() };
    for (const shape of this.moving) this.cast(shape, data, this.film);
    return halve(this.film.rgb, this.size);
  }

  /** Number of the body at a point of the last picture, both coordinates from 0 to 1; 0: none. */
  bodyAt(x, y) {
    const side = 2 * this.size, cell = (v) => Math.min(Math.max(Math.floor(v * side), 0), side - 1);
    return this.film.body[cell(y) * side + cell(x)];
  }

  /** The point at height `z` [m] that is seen at a point of the picture. */
  pointAt(x, y, z) {
    const [o, d] = this.view.ray(2 * x - 1, 1 - 2 * y);
    return o.map((v, i) => v + ((z - o[2]) / d[2]) * d[i]);
  }

  cast(shape, data, film) {
    const side = 2 * this.size, { view, lamps } = this;
    const place = row(data.geom_xpos, shape.id, 3), axes = row(data.geom_xmat, shape.id, 9);
    const [left, right, top, bottom] = window2d(shape, place, axes, view, side);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const [o, d] = view.ray((2 * x + 1) / side - 1 + EDGE, 1 - (2 * y + 1) / side);
        const hit = shape.enter(turnBack(axes, minus(o, place)), turnBack(axes, d));
        const at = y * side + x;
        if (!hit || hit[0] >= film.depth[at]) continue;
        film.depth[at] = hit[0];
        film.body[at] = shape.body;
        const point = o.map((v, i) => v + hit[0] * d[i]);
        const light = shade(lamps, shape, point, turn(axes, hit[1]), unit(d.map((v) => -v)));
        const paint = shape.paint ? shape.paint(turnBack(axes, minus(point, place))) : [1, 1, 1];
        for (let c = 0; c < 3; c++) film.rgb[3 * at + c] = 255 * light[c] * paint[c];
      }
    }
  }
}

/** Pixels that a shape can cover: the projected corners of the box around it. */
function window2d(shape, place, axes, view, side) {
  const xs = [], ys = [];
  for (let k = 0; k < 8; k++) {
    const corner = turn(axes, shape.extent.map((e, i) => (k & (1 << i) ? e : -e)));
    const [x, y] = view.project(corner.map((v, i) => v + place[i]));
    xs.push(((x + 1) * side) / 2);
    ys.push(((1 - y) * side) / 2);
  }
  const clip = (v) => Math.min(Math.max(v, 0), side);
  return [
    clip(Math.floor(Math.min(...xs))), clip(Math.ceil(Math.max(...xs))),
    clip(Math.floor(Math.min(...ys))), clip(Math.ceil(Math.max(...ys))),
  ];
}

/** Rounded mean of every 2x2 pixels. */
function halve(wide, size) {
  const out = new Uint8Array(size * size * 3), stride = 6 * size;
  for (let y = 0; y < size; y++) {
    for (let i = 0; i < 3 * size; i++) {
      const at = 2 * y * stride + 6 * Math.floor(i / 3) + (i % 3);
      out[3 * size * y + i] =
        (wide[at] + wide[at + 3] + wide[at + stride] + wide[at + stride + 3] + 2) >> 2;
    }
  }
  return out;
}

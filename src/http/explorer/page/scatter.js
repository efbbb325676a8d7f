// A scatter of points on the graphics card. The points are uploaded once; a frame is one draw call, and is drawn only
// when something changed. No code is made at run time, so that it lives under a strict policy.

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in float shade;
layout(location = 2) in float chosen;
uniform vec2 scale;
uniform vec2 shift;
uniform float size;
uniform float picking;
uniform float opacity;
uniform sampler2D palette;
out vec4 colour;
void main() {
  gl_Position = vec4(place * scale + shift, 0.0, 1.0);
  bool faint = picking > 0.5 && chosen < 0.5;
  gl_PointSize = faint ? size * 0.8 : size;
  vec4 shown = texelFetch(palette, ivec2(int(shade), 0), 0);
  colour = faint ? vec4(vec3(0.5), 0.32 * opacity) : vec4(shown.rgb, shown.a * opacity);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 colour;
out vec4 result;
void main() {
  float far = length(gl_PointCoord - 0.5);
  float inside = 1.0 - smoothstep(0.42, 0.5, far);
  result = vec4(colour.rgb * colour.a * inside, colour.a * inside);
}`;

export const PALETTE_SIZE = 256;

export class Scatter {
  constructor(canvas, onDrawn = () => {}) {
    this.canvas = canvas;
    this.onDrawn = onDrawn;
    this.view = { x: 0, y: 0, zoom: 1 };
    this.count = 0;
    this.picking = false;
    this.frames = 0;
    const gl = canvas.getContext('webgl2', { antialias: false, premultipliedAlpha: true });
    if (!gl) throw new Error('This browser draws no WebGL 2, which the map needs.');
    this.gl = gl;
    canvas.addEventListener('webglcontextlost', this.lost = (event) => event.preventDefault());
    canvas.addEventListener('webglcontextrestored', this.restored = () => this.build());
    this.build();
  }

  build() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error('The graphics card refuses the map.');
    gl.useProgram(program);
    this.uniform = Object.fromEntries(['scale', 'shift', 'size', 'picking', 'opacity', 'palette'].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.buffers = ['place', 'shade', 'chosen'].map(() => gl.createBuffer());
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.texture = gl.createTexture();
    if (this.points) this.setPoints(this.points.x, this.points.y);
    if (this.shades) this.setShades(this.shades, this.colours);
    if (this.chosen) this.setChosen(this.chosen);
  }

  setPoints(x, y) {
    const { gl } = this;
    this.points = { x, y };
    this.count = x.length;
    const both = new Float32Array(2 * x.length);
    for (let at = 0; at < x.length; at += 1) {
      both[2 * at] = x[at];
      both[2 * at + 1] = y[at];
    }
    this.upload(0, both, 2, gl.FLOAT);
    this.setShades(new Uint8Array(x.length), this.colours || [[90, 120, 170, 255]]);
    this.setChosen(new Uint8Array(x.length), false);
  }

  /** A place in the palette for each point. */
  setShades(shades, colours) {
    const { gl } = this;
    this.shades = shades;
    this.colours = colours;
    this.upload(1, shades, 1, gl.UNSIGNED_BYTE);
    const texels = new Uint8Array(4 * PALETTE_SIZE);
    colours.forEach((colour, at) => texels.set(colour, 4 * at));
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, PALETTE_SIZE, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.ask();
  }

  /** 1 for each chosen point; the others are greyed while `picking`. */
  setChosen(chosen, picking = this.picking) {
    this.chosen = chosen;
    this.picking = picking;
    this.upload(2, chosen, 1, this.gl.UNSIGNED_BYTE);
    this.ask();
  }

  upload(place, data, size, type) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[place]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, false, 0, 0);
  }

  setView(view) {
    this.view = view;
    this.ask();
  }

  /** The size in CSS pixels, taken from the layout. */
  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.ask();
  }

  /** CSS pixels for a unit of the map, before the zoom: the same along both axes. */
  unit() {
    return Math.min(this.canvas.clientWidth, this.canvas.clientHeight) / 2.2;
  }

  toScreen(x, y) {
    const k = this.unit() * this.view.zoom;
    return [this.canvas.clientWidth / 2 + (x - this.view.x) * k, this.canvas.clientHeight / 2 - (y - this.view.y) * k];
  }

  toMap(left, top) {
    const k = this.unit() * this.view.zoom;
    return [this.view.x + (left - this.canvas.clientWidth / 2) / k, this.view.y - (top - this.canvas.clientHeight / 2) / k];
  }

  /** A point's size grows as the view comes near, and shrinks as there are more. */
  pointSize() {
    const base = 220 / Math.sqrt(this.count || 1) + 1.5;
    return Math.min(14, Math.max(2.2, base) * Math.min(3, this.view.zoom ** 0.35));
  }

  /** Where there are many points, they let each other be seen, and less so as the view comes near. */
  opacity() {
    return Math.min(1, Math.max(0.2, 110 / Math.sqrt(this.count || 1)) * this.view.zoom ** 0.5);
  }

  ask() {
    this.asked ||= requestAnimationFrame(() => {
      this.asked = 0;
      this.draw();
    });
  }

  draw() {
    const { gl, canvas, uniform } = this;
    const k = this.unit() * this.view.zoom;
    const scale = [2 * k / canvas.clientWidth, 2 * k / canvas.clientHeight];
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(uniform.scale, scale[0], scale[1]);
    gl.uniform2f(uniform.shift, -this.view.x * scale[0], -this.view.y * scale[1]);
    gl.uniform1f(uniform.size, this.pointSize() * canvas.width / canvas.clientWidth);
    gl.uniform1f(uniform.picking, this.picking ? 1 : 0);
    gl.uniform1f(uniform.opacity, this.opacity());
    gl.uniform1i(uniform.palette, 0);
    gl.drawArrays(gl.POINTS, 0, this.count);
    this.frames += 1;
    this.onDrawn();
  }

  end() {
    cancelAnimationFrame(this.asked);
    this.canvas.removeEventListener('webglcontextlost', this.lost);
    this.canvas.removeEventListener('webglcontextrestored', this.restored);
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}

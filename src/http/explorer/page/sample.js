// An image for those who have none at hand: a landscape, another one each time.

const SIDE = 256;

export function drawn() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext('2d');
  const hue = Math.random() * 360;
  const colour = (turn, light) => `hsl(${hue + turn} 55% ${light}%)`;
  const sky = context.createLinearGradient(0, 0, 0, SIDE);
  sky.addColorStop(0, colour(0, 45));
  sky.addColorStop(1, colour(40, 80));
  context.fillStyle = sky;
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = colour(60, 92);
  context.beginPath();
  context.arc(SIDE * (0.2 + 0.6 * Math.random()), SIDE * 0.3, SIDE * 0.1, 0, 2 * Math.PI);
  context.fill();
  for (let row = 0; row < 3; row += 1) hills(context, SIDE * (0.5 + 0.16 * row), colour(140 + 20 * row, 42 - 11 * row));
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

function hills(context, height, colour) {
  const shift = Math.random() * 10;
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(0, SIDE);
  for (let x = 0; x <= SIDE; x += 4) {
    context.lineTo(x, height - SIDE * 0.1 * Math.sin(x / 37 + shift) - SIDE * 0.05 * Math.sin(x / 13 + 2 * shift));
  }
  context.lineTo(SIDE, SIDE);
  context.fill();
}

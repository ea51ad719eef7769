/* Measure the contrast of every text that is seen with what it stands on, by WCAG's formula. Return how many texts were
   measured, and those below 4.5 to 1. */
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
canvas.canvas.width = canvas.canvas.height = 1;
const known = new Map();
function components(colour) {
  if (!known.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    known.set(colour, [r, g, b, a / 255]);
  }
  return known.get(colour);
}
const over = (top, under) => top.slice(0, 3).map((value, at) => value * top[3] + under[at] * (1 - top[3]));
function ground(element) {
  const layers = [];
  for (let node = element; node; node = node.parentElement) layers.push(components(getComputedStyle(node).backgroundColor));
  return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
}
function luminance(colour) {
  const [r, g, b] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const failures = new Map();
let checked = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode() && checked < 4000) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || !element.getClientRects().length) continue;
  if (["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName) || element.classList.contains("skip")) continue;
  checked += 1;
  const under = ground(element);
  const ink = over(components(getComputedStyle(element).color), under);
  const [low, high] = [luminance(under), luminance(ink)].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  if (contrast < 4.5) failures.set(element.className || element.tagName, [contrast.toFixed(2), walker.currentNode.data.slice(0, 20)]);
}
return [checked, [...failures]];

/** What the user chose last time, on this device: which connection, which microphone, which speaker. */

const PREFIX = "trunkline.";

/** @param {string} name; @param {string} otherwise */
export function recall(name, otherwise) {
  try {
    return localStorage.getItem(PREFIX + name) ?? otherwise;
  } catch {
    return otherwise; // the browser keeps nothing for this page
  }
}

/** @param {string} name; @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // it is asked again next time
  }
}

// As of when the pages are: an offset of the task log, or now, which is null. Changed by `travel.js` alone, which tells
// `change`.

export const moment = Object.assign(new EventTarget(), { at: null });
